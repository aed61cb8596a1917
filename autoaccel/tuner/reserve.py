"""What is kept of a budget for the end of a run, and what is done early so that the end is short."""

from __future__ import annotations

from contextlib import suppress

from autoaccel.core.budget import Budget
from autoaccel.export import script
from autoaccel.reporting import html
from autoaccel.search import value_model
from autoaccel.storage import optuna_export

FIXED = 0.6
"""Seconds that do not depend on how busy the machine is."""
COMPUTED = 1.0
"""Seconds that the last files and the end of the processes take where nothing else runs."""
MOST = 0.05
"""Largest share of the budget that is kept for waiting for the processor: a short run has to train at all."""
RESUMING = 60.0
"""Seconds that loading the task may take at least where a run is resumed, which has something to deliver."""
SHARE = 0.005
"""Share of the budget: what is written grows with a run."""


def reserve(budget: Budget, slowdown: float = 1.0) -> float:
    """Return the seconds to reserve after the final training: report, last files, end of the processes.

    Args:
        budget: The budget of the run.
        slowdown: How many times longer than its CPU time a computation takes on this machine now.
    """
    if not budget.seconds:
        return 0.0
    waiting = min(COMPUTED * (slowdown - 1.0), MOST * budget.seconds)
    return FIXED + COMPUTED + waiting + SHARE * budget.seconds


def warm_up() -> None:
    """Load what the first decision and the last files need, while the task is loaded by another process."""
    for part in (value_model, optuna_export, html, script):
        with suppress(Exception):  # what is wrong with it is told where it is needed
            part.warm_up()
