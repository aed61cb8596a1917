"""What a metric needs, and in which direction it is better, as far as its name and its signature tell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from autoaccel.errors import TaskError
from autoaccel.training.metrics.readout import Readout

SUFFIXES = ("_score", "_loss", "_error", "_deviance", "_coefficient", "_auc", "_coef")
SMALLER = ("_loss", "_error", "_deviance")


def takes_weights(function: Callable[..., Any]) -> bool:
    """Return whether a metric has an argument for the weights of samples."""
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some callables written in C have no signature
        return False


def needs_tensor(name: str, readout: Readout) -> Readout:
    """Return how predictions are read from outputs.

    Raises:
        TaskError: If they cannot be, since only the user's loss knows what the model returns.
    """
    if readout.kind == "other":
        raise TaskError(
            f"the metric {name} needs predictions, but what the model returns is known to your loss alone; give a"
            " callable with metric_on='output', or metric='loss'"
        )
    return readout


def maximizes(name: str, direction: str | None) -> bool:
    """Return whether a larger metric is better.

    Raises:
        TaskError: If neither the user nor the name says so.
    """
    if direction:
        return direction == "max"
    if name.endswith(SUFFIXES):
        return not name.endswith(SMALLER)
    raise TaskError(f"whether {name} is to be large or small is not known; add direction='max' or 'min'")
