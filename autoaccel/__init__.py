"""Budget-aware AutoML for PyTorch training.

Names are loaded when they are first used, so that `import autoaccel` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoaccel.api import SearchSpace, profile, train, tune
    from autoaccel.core.budget import Budget
    from autoaccel.core.recipe import Recipe
    from autoaccel.training.data.task import Task
    from autoaccel.tuner.result import Result

__all__ = ["Budget", "Recipe", "Result", "SearchSpace", "Task", "__version__", "profile", "train", "tune"]

__version__ = "0.1.0"
_HOMES = {
    "Budget": "core.budget",
    "Recipe": "core.recipe",
    "Result": "tuner.result",
    "SearchSpace": "api",
    "Task": "training.data.task",
    "profile": "api",
    "train": "api",
    "tune": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
