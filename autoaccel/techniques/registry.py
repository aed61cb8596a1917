"""Find all techniques: built-in ones, and those of other packages with entry point `autoaccel.techniques`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType

import autoaccel.techniques as root
from autoaccel.core.catalog import TechniqueInfo, check
from autoaccel.core.schedules import Value
from autoaccel.errors import UsageError
from autoaccel.techniques.base import DECLARED, Technique


def classes() -> Mapping[str, type[Technique]]:
    """Return every technique's class by name: ours, those of other packages, and those that a model file declares.

    Raises:
        UsageError: If two techniques have the same name.
    """
    modules = _modules()
    rank = {module.__name__: number for number, module in enumerate(modules)}
    found: dict[str, type[Technique]] = {}
    for cls in sorted(DECLARED.values(), key=lambda cls: rank.get(cls.__module__, len(rank))):
        if (other := found.setdefault(cls.info.name, cls)) is not cls:
            modules_of = f"{other.__module__} and {cls.__module__}"
            raise UsageError(f"two techniques are called {cls.info.name!r}: in {modules_of}")
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
    known = classes()
    made = [known[name](**parameters) for name, parameters in chosen.items()]
    return sorted(made, key=lambda t: (t.info.order, t.info.name))


@cache
def _modules() -> list[ModuleType]:
    ours = [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")
        if not info.ispkg and not info.name.endswith("registry")
    ]
    return ours + [point.load() for point in entry_points(group="autoaccel.techniques")]
