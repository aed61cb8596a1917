"""Built-in search spaces and their portfolio recipes as YAML, installed as `autoaccel.search_spaces`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from autoaccel.core.paths import is_file
from autoaccel.core.yaml_file import load_yaml, read_text
from autoaccel.errors import UsageError, suggestion


def names() -> list[str]:
    """Return the names of the built-in search spaces."""
    return sorted(f.name.removesuffix(".yaml") for f in files(__package__).iterdir() if f.name.endswith(".yaml"))


def text(name: str) -> str:
    """Return the YAML text of a built-in search space, or of the user's own file.

    Raises:
        UsageError: If there is no such space, or the file cannot be read.
    """
    if name in names():
        return (files(__package__) / f"{name}.yaml").read_text(encoding="utf-8")
    path = Path(name)
    if not is_file(path):
        accepted = ", ".join(names())
        raise UsageError(f"no search space {name!r}: one of {accepted}, or a YAML file{suggestion(name, names())}")
    return read_text(path, name)


def read(name: str) -> object:
    """Return the parsed YAML of a built-in search space, or of the user's own file.

    Raises:
        UsageError: If there is no such space or file, or it is not valid YAML.
    """
    return load_yaml(text(name), name)
