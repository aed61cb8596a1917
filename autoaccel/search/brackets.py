"""Successive halving: many recipes on the lowest rung, the best third of them on the next, and so on up."""

from __future__ import annotations

from collections.abc import Sequence

from autoaccel.search.trials import Entry, Trials


class Brackets:
    """How many recipes each rung takes, and which of them go on.

    Args:
        trials: What was tried.
        quotas: How many recipes of the first bracket reach each rung, lowest first.
    """

    def __init__(self, trials: Trials, quotas: Sequence[int]):
        self._trials = trials
        self._quotas = list(quotas)

    def open(self, proposed: int) -> bool:
        """Whether the lowest rung takes another recipe, after so many."""
        return proposed < self._quotas[0]

    def widen(self) -> None:
        """Make room for another bracket: three recipes below, of which one goes all the way up."""
        self._quotas = [quota + (3 if rung == 0 else 1) for rung, quota in enumerate(self._quotas)]

    def end(self, proposed: int) -> None:
        """No more recipes will come than those that were proposed."""
        self._quotas[0] = proposed

    def promotable(self, rung: int) -> Entry | None:
        """The best recipe of a rung that is closed and owes the next one a recipe."""
        if not self._closed(rung) or len(self._trials.searched(rung + 1)) >= self._quotas[rung + 1]:
            return None
        return next((entry for entry, _ in self._trials.on(rung, baseline=False) if not entry.promoted), None)

    def _closed(self, rung: int) -> bool:
        """Whether a rung has all the recipes it will get, and their outcomes.

        The rung below may have fewer to give than were wanted: pruned and infeasible trials are not promoted.
        """
        tried = self._trials.searched(rung)
        if any(entry.outcome is None for entry in tried):
            return False
        return len(tried) >= self._quotas[rung] or (
            rung > 0 and self._closed(rung - 1) and self.promotable(rung - 1) is None
        )
