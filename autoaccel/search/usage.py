"""How much of a budget a run has used, and will have used once a trial has ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Used:
    """Shares of the budget that a run has used.

    Args:
        spent: Until now.
        running: What the running trials will use yet.
        at_once: Whether parallel trials use the same seconds; else what they use adds up.
    """

    spent: float
    running: float
    at_once: bool

    def after(self, cost: float) -> float:
        """Return what share will be used once a trial that costs a share has ended, and those that run."""
        return self.spent + (max(self.running, cost) if self.at_once else self.running + cost)
