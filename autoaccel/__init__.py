"""Budget-aware AutoML for PyTorch training.

Names are imported on first use, so that `import autoaccel` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoaccel.api import profile, resume, train, tune
    from autoaccel.core.budget import Budget
    from autoaccel.core.recipe import Recipe
    from autoaccel.spaces.space import SearchSpace
    from autoaccel.training.data.task import Task
    from autoaccel.tuner.result import Result

__all__ = ["Budget", "Recipe", "Result", "SearchSpace", "Task", "__version__", "profile", "resume", "train", "tune"]

__version__ = "0.1.0"
_HOMES = {
    "Budget": "core.budget",
    "Recipe": "core.recipe",
    "Result": "tuner.result",
    "SearchSpace": "spaces.space",
    "Task": "training.data.task",
    "profile": "api",
    "resume": "api",
    "train": "api",
    "tune": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
