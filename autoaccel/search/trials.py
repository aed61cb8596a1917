"""What was tried: every trial of a run with its reports and outcome, and the questions that are asked of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from autoaccel.core.trial import Outcome, Purpose, Report, TrialRequest
from autoaccel.search.sampler import Proposal

CLEARLY_WORSE = 3.0
"""Standard errors by which a final training must be behind to be given up for the next best recipe."""
FINAL = -1
"""The rung of a final training, which is on no ladder."""


@dataclass
class Entry:
    """A trial that was started.

    Args:
        request: What was asked.
        rung: Its rung; `FINAL` for a final training.
        proposal: Where its recipe comes from; None for baselines and final trainings.
        reports: Its evaluations.
        outcome: How it ended; None while it runs.
        promoted: Whether its recipe was given a larger budget.
    """

    request: TrialRequest
    rung: int
    proposal: Proposal | None = None
    reports: list[Report] = field(default_factory=list)
    outcome: Outcome | None = None
    promoted: bool = False

    @property
    def final(self) -> Report | None:
        """The evaluation at the end, if it was complete."""
        return self.outcome.final if self.outcome else None


Scored = tuple[Entry, Report]
"""A complete trial with its last evaluation."""


class Trials:
    """All trials of a run by their number.

    Args:
        maximize: Whether a larger metric is better.
    """

    def __init__(self, maximize: bool = False):
        self._maximize = maximize
        self._entries: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __getitem__(self, trial: int) -> Entry:
        return self._entries[trial]

    def add(self, entry: Entry) -> None:
        """Remember a trial that was started."""
        self._entries[entry.request.trial] = entry

    def running(self) -> list[Entry]:
        """Those without an outcome."""
        return [entry for entry in self if entry.outcome is None]

    def value(self, report: Report) -> tuple[float, float]:
        """What is compared, smaller is better: the metric, and the loss where metrics are equal."""
        return (-report.metric if self._maximize else report.metric), report.loss

    def on(self, rung: int, baseline: bool | None = None) -> list[Scored]:
        """The complete trials of a rung, best first; with `baseline`, only plain ones or only others."""
        found = [
            (entry, entry.final)
            for entry in self
            if entry.rung == rung
            and entry.final is not None
            and baseline in (None, entry.request.purpose is Purpose.BASELINE)
        ]
        return sorted(found, key=lambda pair: self.value(pair[1]))

    def plain(self, rung: int) -> Scored | None:
        """The better plain recipe on a rung."""
        return next(iter(self.on(rung, baseline=True)), None)

    def ranked(self, baseline: bool | None = None) -> list[Scored]:
        """The complete trials of the search, those of the highest rung first and the best first among them."""
        highest = max((entry.rung for entry in self), default=FINAL)
        return [pair for rung in range(highest, FINAL, -1) for pair in self.on(rung, baseline)]

    def best(self) -> Scored | None:
        """The best recipe on the highest rung where anything was completed; plain where nothing beats it."""
        return next(iter(self.ranked()), None)

    def searched(self, rung: int) -> list[Entry]:
        """Proposed recipes on a rung, whatever became of them."""
        return [entry for entry in self if entry.rung == rung and entry.proposal]

    def finals(self) -> list[Entry]:
        """Final trainings, begun or ended."""
        return [entry for entry in self if entry.rung == FINAL]

    def final(self) -> Entry | None:
        """The complete final training."""
        return next((entry for entry in self.finals() if entry.final is not None), None)

    def normalized(self, rung: int, report: Report) -> float | None:
        """How much worse than plain at the same budget: comparable across rungs, where the metric is not.

        On a rung without a plain trial, the one on the nearest rung stands in; None where there is none at all.
        """
        plain = self.ranked(baseline=True)
        if not plain:
            return None
        _, nearest = min(plain, key=lambda pair: (abs(pair[0].rung - rung), self.value(pair[1])))
        return self.value(report)[0] - self.value(nearest)[0]

    def hopeless(self, report: Report) -> bool:
        """Whether a long training in progress is clearly worse than plain was with the smallest budget."""
        plain = self.plain(0)
        if plain is None:
            return False
        behind = self.value(report)[0] - self.value(plain[1])[0]
        return behind > CLEARLY_WORSE * math.hypot(report.standard_error, plain[1].standard_error)

    def plateaued(self) -> bool:
        """Whether a promotion no longer gives more than the noise of the validation set."""
        gains = []
        for entry in self:
            parent = None if entry.request.parent is None else self[entry.request.parent]
            if entry.rung != FINAL and parent and parent.final and entry.final:
                gain = self.value(parent.final)[0] - self.value(entry.final)[0]
                gains.append(gain - entry.final.standard_error)
        return bool(gains) and median(gains) < 0
