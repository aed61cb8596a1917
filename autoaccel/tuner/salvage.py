"""A run's trials as a search that has ended: for `repair`, which has the record but not the search."""

from __future__ import annotations

from collections.abc import Container, Iterable, Set

from autoaccel.core.events import Action, Event
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import Outcome, Purpose
from autoaccel.search.base import Comparison, Expectation


class Salvage:
    """See `autoaccel.search.base.Search`; only trials with weights can be best.

    Args:
        trials: All trials of which there is a record.
        usable: Numbers of those with weights.
    """

    failure: Outcome | None = None

    def __init__(self, trials: Trials, usable: Container[int | None]):
        self.trials = trials
        self._complete = [record for record in trials if record.complete and record.final]
        self._usable = [record for record in self._complete if record.number in usable]

    @property
    def maximize(self) -> bool:
        """Whether a larger metric is better."""
        return self.trials.facts is not None and self.trials.facts.maximize

    def handle(self, event: Event, now: float) -> list[Action]:
        """Decide nothing."""
        return []

    def best(self) -> TrialRecord | None:
        """Return the best usable trial of the search at the largest budget of these."""
        return self._best(record for record in self._usable if record.purpose is not Purpose.FINAL)

    def final(self) -> TrialRecord | None:
        """Return the final training if it is usable."""
        return self._best(record for record in self._usable if record.purpose is Purpose.FINAL)

    def baseline(self) -> TrialRecord | None:
        """Return the best plain trial at the largest budget of these."""
        return self._best(record for record in self._complete if record.purpose is Purpose.BASELINE)

    def kept(self) -> Set[int]:
        """Return the numbers of the trials with weights."""
        return {record.number for record in self._usable}

    def comparison(self) -> Comparison | None:
        """Return the best recipe and the best plain one at the largest budget that both had."""
        searched = [record for record in self._complete if record.purpose is not Purpose.FINAL]
        plain = [record for record in searched if record.purpose is Purpose.BASELINE]
        shared = {record.request.budget for record in plain} & {
            record.request.budget for record in searched if record not in plain
        }
        if not shared:
            return None
        budget = max(shared, key=lambda each: each.size)
        winner = self._best(record for record in searched if record.request.budget == budget)
        baseline = self._best(record for record in plain if record.request.budget == budget)
        return Comparison(budget, winner, baseline) if winner and baseline else None

    def plain_at_full_length(self) -> Expectation | None:
        """Return None: without the search's model there is no expectation."""
        return None

    def describe(self) -> list[str]:
        """Return nothing: the plan went with the search."""
        return []

    def _best(self, records: Iterable[TrialRecord]) -> TrialRecord | None:
        sign = 1 if self.maximize else -1
        return max(
            records,
            key=lambda each: (each.request.budget.size, sign * each.final.metric if each.final else 0.0),
            default=None,
        )
