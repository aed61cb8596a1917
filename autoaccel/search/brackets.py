"""Successive halving: many recipes on the lowest rung, the best third of them on the next, and so on up."""

from __future__ import annotations

from collections.abc import Sequence

from autoaccel.core.records import TrialRecord
from autoaccel.search.trials import LadderTrials


class Brackets:
    """Decides how many recipes each rung takes and which of them are promoted.

    Args:
        trials: The trials so far.
        quotas: Number of recipes of the first bracket on each rung, lowest rung first.
    """

    def __init__(self, trials: LadderTrials, quotas: Sequence[int]):
        self._trials = trials
        self._quotas = list(quotas)

    def open(self, proposed: int) -> bool:
        """Return whether the lowest rung takes another recipe after `proposed` ones."""
        return proposed < self._quotas[0]

    def widen(self) -> None:
        """Make room for another bracket: three recipes on the lowest rung, one of which reaches the top."""
        self._quotas = [quota + (3 if rung == 0 else 1) for rung, quota in enumerate(self._quotas)]

    def end(self, proposed: int) -> None:
        """Expect no recipes beyond the `proposed` ones."""
        self._quotas[0] = proposed

    def promotable(self, rung: int) -> TrialRecord | None:
        """Return the best unpromoted trial of a closed rung if the next rung has room, else None."""
        if not self._closed(rung) or len(self._trials.searched(rung + 1)) >= self._quotas[rung + 1]:
            return None
        complete = self._trials.on(rung, baseline=False)
        return next((record for record in complete if not self._trials.promoted(record)), None)

    def _closed(self, rung: int) -> bool:
        """Return whether a rung has all the recipes that it will get, and their outcomes.

        It may get fewer than its quota, since pruned and infeasible trials of the rung below are not promoted.
        """
        tried = self._trials.searched(rung)
        if any(record.running for record in tried):
            return False
        return len(tried) >= self._quotas[rung] or (
            rung > 0 and self._closed(rung - 1) and self.promotable(rung - 1) is None
        )
