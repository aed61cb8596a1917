"""The trials of a search on its ladder of budgets, with the queries that the search needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

from autoaccel.core.budget import Budget
from autoaccel.core.events import Start
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import SECONDS, Cost
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import OutcomeKind, Purpose, Report, TrialRequest
from autoaccel.search.base import Comparison, Proposal

CLEARLY_WORSE = 3.0
"""Standard errors by which a final training must be worse to be given up for the next best recipe."""
FRUITLESS = 10
"""Number of failures in a row after which no more recipes are proposed."""
LEARNED = (OutcomeKind.COMPLETE, OutcomeKind.PRUNED)
"""Outcomes whose metric a sampler can learn from."""
FINAL = -1
"""The rung of a final training, which is not on the ladder."""
FORMER = -2
"""The rung of a trial whose ladder was replaced by another."""


@dataclass(frozen=True)
class Standing:
    """A trial's position on the ladder.

    Args:
        rung: Its rung; `FINAL` for a final training, `FORMER` for a trial on a ladder that was replaced.
        proposal: The proposal of its recipe; None for baselines and final trainings.
    """

    rung: int
    proposal: Proposal | None = None


class LadderTrials:
    """The trials of a run and their positions on the ladder.

    Args:
        records: All trials of the run.
        facts: The facts of the task.
    """

    def __init__(self, records: Trials, facts: TaskFacts):
        self.records = records
        self._facts = facts
        self._standings: dict[int, Standing] = {}
        self._promoted: set[int] = set()

    def add(self, request: TrialRequest, standing: Standing, now: float) -> None:
        """Add a trial that is being started."""
        self.records.handle(Start(request), now)
        self._standings[request.trial] = standing

    def rung(self, record: TrialRecord) -> int:
        """Return a trial's rung."""
        return self._standings[record.number].rung

    def proposal(self, record: TrialRecord) -> Proposal | None:
        """Return the proposal of a trial's recipe, if any."""
        return self._standings[record.number].proposal

    def promote(self, record: TrialRecord) -> None:
        """Mark a trial as promoted: its recipe gets a larger budget."""
        self._promoted.add(record.number)

    def promoted(self, record: TrialRecord) -> bool:
        """Return whether a trial was promoted."""
        return record.number in self._promoted

    def score(self, record: TrialRecord) -> tuple[float, float]:
        """Return the sort key of a complete trial; smaller is better."""
        assert record.final is not None
        return self._facts.score(record.final)

    def new_ladder(self) -> None:
        """Take all trials off the ladder, because it is being replaced."""
        for number, standing in self._standings.items():
            self._standings[number] = replace(standing, rung=FORMER)

    def baselines(self) -> list[TrialRecord]:
        """Return the plain trials on the ladder, running or ended."""
        return [record for record in self.records.of(Purpose.BASELINE) if self.rung(record) != FORMER]

    def on(self, rung: int, baseline: bool | None = None) -> list[TrialRecord]:
        """Return a rung's complete trials, best first; `baseline` selects plain trials or the others."""
        found = [
            record
            for record in self.records
            if self.rung(record) == rung
            and record.final is not None
            and baseline in (None, record.purpose is Purpose.BASELINE)
        ]
        return sorted(found, key=self.score)

    def plain(self, rung: int) -> TrialRecord | None:
        """Return the better complete plain trial on a rung, if any."""
        return next(iter(self.on(rung, baseline=True)), None)

    def ranked(self, baseline: bool | None = None) -> list[TrialRecord]:
        """Return the complete trials of the search, ordered by rung (highest first), then best first."""
        rungs = {standing.rung for standing in self._standings.values()} - {FINAL}
        return [record for rung in sorted(rungs, reverse=True) for record in self.on(rung, baseline)]

    def best(self) -> TrialRecord | None:
        """Return the longest trial of the recipe that wins the comparison, which may be plain.

        Without a comparison, return the best trial on the highest rung with a complete one.
        """
        found = self.comparison()
        if found is None:
            return next(iter(self.ranked()), None)
        best = min(found.plain, found.winner, key=self.score)
        return next(record for record in self.ranked() if record.request.recipe == best.request.recipe)

    def pending(self, budget: Budget) -> float:
        """Return the share of the running trials; seconds pass once for all of them, the rest adds up."""
        shares = [budget.share(Cost(record.request.budget)) for record in self.records.running()]
        return (max(shares) if set(budget) == {SECONDS} else sum(shares)) if shares else 0.0

    def searched(self, rung: int) -> list[TrialRecord]:
        """Return the trials of proposed recipes on a rung, whatever their outcome."""
        return [record for record in self.records if self.rung(record) == rung and self.proposal(record)]

    def finals(self) -> list[TrialRecord]:
        """Return the final trainings, running or ended."""
        return self.records.of(Purpose.FINAL)

    def final(self) -> TrialRecord | None:
        """Return the final training if it is complete."""
        return next((record for record in self.finals() if record.final is not None), None)

    def baseline(self) -> TrialRecord | None:
        """Return the better plain trial on the highest rung with a complete one."""
        return next(iter(self.ranked(baseline=True)), None)

    def comparison(self) -> Comparison | None:
        """Compare the best recipe with the better plain one on the highest rung where both are complete."""
        for winner in self.ranked(baseline=False):
            if plain := self.plain(self.rung(winner)):
                return Comparison(plain.request.budget, winner, plain)
        return None

    def rivals(self, record: TrialRecord, milestone: int) -> list[float]:
        """Return the metrics of the other trials on a trial's rung at a milestone; smaller is better."""
        return [
            self._facts.score(other.reports[milestone])[0]
            for other in self.records
            if other.number != record.number
            and self.rung(other) == self.rung(record)
            and len(other.reports) > milestone
        ]

    def fruitless(self) -> bool:
        """Return whether the last `FRUITLESS` proposals all failed, so that more would probably fail too."""
        outcomes = [record.outcome.kind for record in self.records if record.outcome and self.proposal(record)]
        return len(outcomes) >= FRUITLESS and not any(kind in LEARNED for kind in outcomes[-FRUITLESS:])

    def normalized(self, record: TrialRecord, report: Report) -> float:
        """Return the metric minus that of plain training with the same budget, comparable across rungs.

        A rung without a plain trial uses that of the nearest rung. If plain training fails on all of them, the
        median of the complete trials on the nearest rung takes its place.
        """
        value, rung = self._facts.score(report)[0], self.rung(record)
        if known := self.ranked(baseline=True) or self.ranked():
            nearest = min((self.rung(other) for other in known), key=lambda other: abs(other - rung))
            plain = self.plain(nearest)
            middle = median(self.score(other)[0] for other in self.on(nearest))
            return value - (self.score(plain)[0] if plain else middle)
        return 0.0  # the first result is where all others are measured from

    def hopeless(self, report: Report) -> bool:
        """Return whether a final training is clearly worse than plain training was on the lowest rung."""
        plain = self.plain(0)
        if plain is None or plain.final is None:
            return False
        behind, error = self._facts.score(report)[0] - self.score(plain)[0], self._facts.error(report, plain.final)
        return error is not None and behind > CLEARLY_WORSE * error

    def plateaued(self) -> bool:
        """Return whether the typical promotion gains less than the standard error of the metric."""
        gains = []
        for record in self.records:
            parent = self.records.get(record.request.parent)
            if record.purpose is Purpose.FINAL or not (parent and parent.final and record.final):
                continue
            if (error := record.final.standard_error) is not None:
                gains.append(self.score(parent)[0] - self.score(record)[0] - error)
        return bool(gains) and median(gains) < 0
