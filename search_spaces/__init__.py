"""Built-in search spaces and their portfolio recipes as YAML, installed as `autoaccel.search_spaces`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from autoaccel.core.yaml_file import load_yaml
from autoaccel.errors import UsageError, suggestion


def names() -> list[str]:
    """Return the names of the built-in search spaces."""
    return sorted(f.name.removesuffix(".yaml") for f in files(__package__).iterdir() if f.name.endswith(".yaml"))


def text(name: str) -> str:
    """Return the YAML text of a built-in search space, or of a file."""
    return (files(__package__) / f"{name}.yaml" if name in names() else Path(name)).read_text()


def read(name: str) -> object:
    """Return the parsed YAML of a built-in search space, or of the user's own file.

    Raises:
        UsageError: If there is no such space or file, or it is not valid YAML.
    """
    if name in names():
        return load_yaml((files(__package__) / f"{name}.yaml").read_text(), name)
    path = Path(name)
    if not path.is_file():
        accepted = ", ".join(names())
        raise UsageError(f"no search space {name!r}: one of {accepted}, or a YAML file{suggestion(name, names())}")
    return load_yaml(path.read_text(), name)
