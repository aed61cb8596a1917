"""The trials of a search on its ladder of budgets, with the queries that the search needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from itertools import chain
from statistics import median

from autoaccel.core.budget import Budget
from autoaccel.core.events import Start
from autoaccel.core.facts import TaskFacts
from autoaccel.core.goal import Goal
from autoaccel.core.quantities import SECONDS, Cost
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import OutcomeKind, Purpose, Report, TrialRequest
from autoaccel.search.base import Proposal
from autoaccel.search.limits import Limits
from autoaccel.search.retries import given_up
from autoaccel.search.value_model import Observation

FRUITLESS = 10
"""Number of failures in a row after which no more recipes are proposed."""
LEARNED = (OutcomeKind.COMPLETE, OutcomeKind.PRUNED)
"""Outcomes whose metric a sampler can learn from."""
AT_FAULT = (OutcomeKind.INFEASIBLE, OutcomeKind.FAILED)
"""Outcomes that are due to the recipe."""
TAUGHT = (*LEARNED, *AT_FAULT, OutcomeKind.TIMED_OUT)
"""Outcomes that say how good a recipe is."""
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
        goal: The goal of the run.

    Attributes:
        limits: Which recipes keep the constraints of the goal.
    """

    def __init__(self, records: Trials, facts: TaskFacts, goal: Goal = Goal()):  # noqa: B008 - a frozen value
        self.records = records
        self._facts = facts
        self._standings: dict[int, Standing] = {}
        self._numbers: dict[int, list[int]] = {}
        self._observations: list[Observation] = []
        self._complete: dict[tuple[int, bool | None], list[TrialRecord]] = {}
        self._costs: dict[int, Cost] = {}
        self._kept: set[int] = set()
        self.first = 0
        self.limits = Limits(goal, facts)

    def add(self, request: TrialRequest, standing: Standing, now: float) -> None:
        """Add a trial that is being started."""
        self.records.handle(Start(request), now)
        self._standings[request.trial] = standing
        self._numbers.setdefault(standing.rung, []).append(request.trial)

    def rung(self, record: TrialRecord) -> int:
        """Return a trial's rung."""
        return self._standings[record.number].rung

    def proposal(self, record: TrialRecord) -> Proposal | None:
        """Return the proposal of a trial's recipe, if any."""
        return self._standings[record.number].proposal

    def score(self, record: TrialRecord) -> tuple[float, float]:
        """Return the sort key of a complete trial; smaller is better."""
        assert record.final is not None
        return self._facts.score(record.final)

    def new_ladder(self) -> None:
        """Take all trials off the ladder, because it is being replaced."""
        for number, standing in self._standings.items():
            self._standings[number] = replace(standing, rung=FORMER)
        self._numbers = {FORMER: list(self._standings)}
        self._complete.clear()

    def extend(self, share: float, before: Budget) -> None:
        """Take all trials off the ladder, since the budget is larger, and keep what they have shown.

        Args:
            share: What share of the new budget the one before is; lengths are shares of the budget.
            before: The budget before.
        """
        known = [*self._observations, *(self._observed(record, before) for record in self.finals() if record.final)]
        self._observations = [replace(one, length=share * one.length) for one in known]
        self.first = len(self.records)
        self.new_ladder()

    def _observed(self, record: TrialRecord, budget: Budget) -> Observation:
        length = budget.share(Cost(record.request.budget)) * record.request.speed
        return Observation(record.request.recipe, length, self.score(record)[0])

    def _given(self, rung: int) -> list[TrialRecord]:
        """Return the trials on a rung, in their order."""
        return [self.records[number] for number in self._numbers.get(rung, [])]

    def baselines(self) -> list[TrialRecord]:
        """Return the plain trials on the ladder, running or ended."""
        return [record for record in self.records.of(Purpose.BASELINE) if self.rung(record) != FORMER]

    def on(self, rung: int, baseline: bool | None = None) -> list[TrialRecord]:
        """Return a rung's complete trials, best first; `baseline` selects plain trials or the others.

        What breaks a constraint is left out, but for plain trials, which others are compared with.
        """
        if (rung, baseline) not in self._complete:
            found = [
                record
                for record in self._given(rung)
                if record.final is not None
                and baseline in (None, record.purpose is Purpose.BASELINE)
                and (baseline or self.limits.allowed(record.request.recipe))
            ]
            self._complete[rung, baseline] = sorted(found, key=self.score)
        return self._complete[rung, baseline]

    def pruned(self, rung: int) -> list[TrialRecord]:
        """Return a rung's pruned trials, in their order."""
        return [r for r in self._given(rung) if r.outcome and r.outcome.kind is OutcomeKind.PRUNED]

    def plain(self, rung: int) -> TrialRecord | None:
        """Return the better complete plain trial on a rung, if any."""
        return next(iter(self.on(rung, baseline=True)), None)

    def ranked(self, baseline: bool | None = None) -> list[TrialRecord]:
        """Return the complete trials of the search, ordered by rung (highest first), then best first."""
        rungs = self._numbers.keys() - {FINAL}
        return [record for rung in sorted(rungs, reverse=True) for record in self.on(rung, baseline)]

    def best_first(self, top: int, trusted: Iterable[Recipe]) -> Iterator[TrialRecord]:
        """Yield the complete trials of the search whose weights are kept, the one to deliver first.

        Args:
            top: The rung whose trials are as long as the final training; of these the metric is known.
            trusted: The recipes, best first, for those that were trained for less.
        """
        complete = self.longest()
        as_long = self.on(top) if top != FINAL else []  # without a ladder
        measured = (record for record in as_long if self.limits.allowed(record.request.recipe))
        believed = (complete[recipe] for recipe in trusted if recipe in complete)
        return (record for record in chain(measured, believed, self.ranked()) if record.number in self._kept)

    def keep(self, best: Iterable[TrialRecord]) -> None:
        """Let go of all weights but those of the best trials, the final training and plain, for good.

        Plain's too: a comparison on a higher rung may yet find that nothing beats it.
        """
        self._kept &= {record.number for record in (*best, self.final(), self.baseline()) if record is not None}

    @property
    def kept(self) -> Set[int]:
        """The numbers of the trials whose weights are kept: others can be neither delivered nor learned from."""
        return self._kept

    def longest(self) -> dict[Recipe, TrialRecord]:
        """Return each recipe's longest complete trial."""
        return {record.request.recipe: record for record in reversed(self.ranked())}

    def running_length(self, budget: Budget, now: float, *without: Purpose) -> float:
        """Return what running trials will still use at most, as a share of a budget, and for how long.

        Seconds pass once for all of them; the rest adds up. Those `without` are left out.
        """
        running = [record for record in self.records.running() if record.purpose not in without]
        if set(budget) == {SECONDS}:
            ends = [record.started + self.cost(record).seconds for record in running]
            return budget.share(Cost(seconds=max(0.0, max(ends, default=now) - now)))
        return sum(budget.share(self.cost(record)) for record in running)

    def cost(self, record: TrialRecord) -> Cost:
        """Return what a trial was expected to cost when it was started."""
        if record.number not in self._costs:  # asked of all running trials in each decision
            whole = Cost(record.request.budget) - record.request.carried
            parent = self.records.get(record.request.parent)
            had = Cost(parent.request.budget) if parent and self._facts.continues else Cost()
            self._costs[record.number] = whole - had
        return self._costs[record.number]

    def recipes_on(self, rung: int) -> set[Recipe]:
        """Return the recipes that were given a trial on a rung, whatever its outcome."""
        return {record.request.recipe for record in self._given(rung)}

    def observe(self, record: TrialRecord, budget: Budget) -> None:
        """Note what a trial that has ended shows of its recipe."""
        self.limits.note(record)
        self._complete.clear()
        if record.final is not None:
            self._kept.add(record.number)
        if record.outcome is None or self.rung(record) == FINAL or record.outcome.kind not in TAUGHT:
            return
        length, value = budget.share(Cost(record.request.budget)) * record.request.speed, math.inf
        if record.final is not None:
            value = self.score(record)[0]
        elif record.outcome.kind is OutcomeKind.PRUNED:
            if record.latest is None:
                return
            value = self._pruned_value(record, record.latest)
        self._observations.append(Observation(record.request.recipe, length, value))

    @property
    def facts(self) -> TaskFacts:
        """The facts of the task."""
        return self._facts

    @property
    def observations(self) -> list[Observation]:
        """What the ended trials have shown of their recipes, in the order in which they ended.

        A recipe that is too slow or too large is worth nothing; plain is still what others are compared with.
        """
        if not self.limits.goal.constraints:
            return self._observations
        return [
            replace(one, value=math.inf)
            if one.recipe not in PLAIN.values() and self.limits.spoiled(one.recipe)
            else one
            for one in self._observations
        ]

    def _pruned_value(self, record: TrialRecord, latest: Report) -> float:
        """Return what a pruned trial would have reached if it had gained from there on what others did."""
        gains = [
            self.score(other)[0] - self._facts.score(other.reports[latest.milestone])[0]
            for other in self.on(self.rung(record))
            if len(other.reports) > latest.milestone
        ]
        return self._facts.score(latest)[0] + (median(gains) if gains else 0.0)

    def finals(self) -> list[TrialRecord]:
        """Return the final trainings with this budget, running or ended, without those that are tried again."""
        found = [record for record in self.records.of(Purpose.FINAL) if record.number >= self.first]
        return [r for r in found if not r.unfinished or given_up(self.records, r)]

    def final(self) -> TrialRecord | None:
        """Return the final training if it is complete; the best one, if the run was extended after the first."""
        found = [record for record in self.records.of(Purpose.FINAL) if record.final is not None]
        return min(found, key=self.score, default=None)

    def baseline(self) -> TrialRecord | None:
        """Return the better plain trial on the highest rung with a complete one."""
        return next(iter(self.ranked(baseline=True)), None)

    def rivals(self, record: TrialRecord, milestone: int) -> list[float]:
        """Return the metrics of the other trials on a trial's rung at a milestone; smaller is better.

        Only those that are known to keep the constraints: a large model is no rival of one that has to be small.
        """
        return [
            self._facts.score(other.reports[milestone])[0]
            for other in self._given(self.rung(record))
            if other.number != record.number
            and len(other.reports) > milestone
            and self.limits.keeps(other.request.recipe)
        ]

    def fruitless(self) -> bool:
        """Return whether the last `FRUITLESS` proposals all failed, so that more would probably fail too."""
        ended = [record for record in self.records if not record.unfinished and self.proposal(record)]
        outcomes = [record.outcome.kind for record in ended if record.outcome]
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
