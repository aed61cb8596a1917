"""How many trials a run may have side by side, as far as that is known before the task is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import SECONDS
from autoaccel.core.resources import Resources

SHARE = 0.01
"""Share of the budget that finding out how many trials to run side by side on CPUs may take."""


def requested(resources: Resources, budget: Budget, config: Mapping[str, Any]) -> Resources:
    """Return what a run asks for.

    Args:
        resources: What the user asks for.
        budget: The budget of the run.
        config: The `config.json` of the run that is resumed; empty for a new one.
    """
    if resources.workers is None and config.get("workers") and not config.get("slots", {}).get("gpus"):
        return replace(resources, workers=config["workers"])  # as was measured then
    # Where not only time is limited, what is spent adds up over trials, and more of them at a time are no gain.
    return replace(resources, choosing=SHARE * budget[SECONDS] if set(budget) == {SECONDS} else 0.0)
