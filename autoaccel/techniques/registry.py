"""Find all techniques: built-in ones, and those of other packages with entry point `autoaccel.techniques`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType

import autoaccel.techniques as root
from autoaccel.core.catalog import TechniqueInfo, Value, check
from autoaccel.errors import UsageError
from autoaccel.techniques.base import Technique


@cache
def classes() -> Mapping[str, type[Technique]]:
    """Return every technique's class by name.

    Raises:
        UsageError: If two techniques have the same name.
    """
    found: dict[str, type[Technique]] = {}
    for module in _modules():
        for cls in vars(module).values():
            if not (isinstance(cls, type) and issubclass(cls, Technique) and "info" in vars(cls)):
                continue
            if cls.__module__ != module.__name__:
                continue
            if (other := found.setdefault(cls.info.name, cls)) is not cls:
                places = f"{other.__module__} and {cls.__module__}"
                raise UsageError(f"two techniques are called {cls.info.name!r}: in {places}")
    return found


def catalog() -> dict[str, TechniqueInfo]:
    """Return every technique's declaration by name."""
    return {name: cls.info for name, cls in classes().items()}


def build(chosen: Mapping[str, Mapping[str, Value]]) -> list[Technique]:
    """Create the techniques of a recipe, in the order in which their hooks run.

    Raises:
        UsageError: If the recipe cannot be trained; the message lists every reason.
    """
    if faults := check(chosen, catalog()):
        raise UsageError("\n  ".join(["this recipe cannot be trained:", *faults]))
    made = [classes()[name](**parameters) for name, parameters in chosen.items()]
    return sorted(made, key=lambda t: (t.info.order, t.info.name))


def _modules() -> list[ModuleType]:
    ours = [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")
        if not info.ispkg and not info.name.endswith("registry")
    ]
    return ours + [point.load() for point in entry_points(group="autoaccel.techniques")]
