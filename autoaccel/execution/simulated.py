"""Simulated trials: results come from a table, and seconds from a simulated clock.

The search cannot tell the difference, so simulating a day's run with hundreds of seeds takes minutes.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import Catalog
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Event, Finished, Reported
from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import Machine
from autoaccel.core.quantities import FLOPS, SECONDS, Cost
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Slots
from autoaccel.core.trial import COOLDOWN, Outcome, OutcomeKind, Purpose, Report, TrialRequest

Table = Callable[[TrialRequest, float], float]
"""Returns the metric of a request at progress p in [0, 1]."""


class TableExecutor:
    """An executor that looks up results in a table.

    Args:
        table: Returns the metric of a request at a given progress; NaN for a recipe that diverges.
        clock: Advanced from event to event.
        cost_factor: Duration of every trial relative to its budget.
        standard_error: Standard error in the reports; None if unknown.
        flops_per_second: Speed of the simulated machine, in FLOPs per second.
        catalog: The known techniques.
        facts: The facts that `profile` returns; needed only if it is called, if trials can be continued, or if a
            larger metric is better.
        measured: Returns what is measured of a request's model.
        workers: Number of trials side by side.
        pace: Returns the seconds of a step of a request; infinity where it does not work with as many processes.
    """

    def __init__(
        self,
        table: Table,
        clock: SimulatedClock,
        cost_factor: float = 1.0,
        standard_error: float | None = 0.0,
        flops_per_second: float = 1e9,
        catalog: Catalog | None = None,
        facts: TaskFacts | None = None,
        measured: Callable[[TrialRequest], Mapping[str, float]] = lambda _: {},
        workers: int = 1,
        pace: Callable[[TrialRequest], float] = lambda request: 1 / request.processes,
    ):
        self.machine, self.slots = Machine(), Slots(workers)
        self._catalog = catalog or {}
        self._facts = facts
        self._measured = measured
        self._pace = pace
        self._table = table
        self._clock = clock
        self._factor = cost_factor
        self._standard_error = standard_error
        self._speed = flops_per_second
        self._queue: list[tuple[float, int, Event]] = []
        self._number = itertools.count()
        self._seconds: dict[int, float] = {}

    def load(self, limit: float | None) -> Catalog:
        """Return the known techniques."""
        return self._catalog

    def profile(self, limit: float | None) -> tuple[TaskFacts, Mapping[str, Any]]:
        """Return the given facts and no hyperparameters of the model."""
        assert self._facts is not None
        return self._facts, {}

    def identify(self, limit: float | None) -> tuple[str, Mapping[str, str]]:
        """Return what the given facts say."""
        assert self._facts is not None
        return self._facts.fingerprint, self._facts.files

    def score(self, recipe: Recipe, weights: Path, limit: float | None) -> Mapping[str, Any]:
        """Return the recipe's metric at the end of training."""
        metric = self._table(TrialRequest(-1, recipe, Budget(seconds=1.0)), 1.0)
        cost = self._cost(0.0)
        return {"metric": metric, "loss": metric, "standard_error": self._standard_error, "cost": dict(cost)}

    def start(self, request: TrialRequest) -> None:
        """Schedule the events of a trial."""
        budget = request.budget
        whole = budget.get(SECONDS, budget.get(FLOPS, 0.0) / self._speed)
        continues = self._facts is not None and self._facts.continues
        parent = self._seconds[request.parent] if continues and request.parent is not None else 0.0
        seconds, had = self._factor * (whole - parent), self._factor * request.carried.seconds
        self._seconds[request.trial] = whole
        if request.purpose is Purpose.PACE:
            self._time_steps(request, seconds / 2)
            return
        reports: list[Report] = []
        for index, p in enumerate(request.milestones or (1.0,)):
            spent = self._cost(seconds * p)
            metric = self._table(request, p)
            if metric != metric:
                outcome = Outcome(OutcomeKind.INFEASIBLE, spent, reason="diverged")
                self._push(seconds * p - had, Finished(request.trial, outcome))
                return
            reports.append(Report(request.trial, index, p, metric, metric, self._standard_error, spent))
            self._push(seconds * p - had, Reported(reports[-1]))
        kept = self._best(reports) if request.keep_best else reports[-1]
        test = {"metric": kept.metric, "loss": kept.loss} if request.test else {}
        last = None if kept is reports[-1] else reports[-1]
        name = self._facts.metric if self._facts else ""
        outcome = Outcome(
            OutcomeKind.COMPLETE,
            self._cost(seconds),
            kept,
            test,
            metric=name,
            last=last,
            measured=self._measured(request),
        )
        self._push(seconds - had, Finished(request.trial, outcome))

    def _time_steps(self, request: TrialRequest, seconds: float) -> None:
        pace = self._pace(request)
        works = pace < math.inf
        kind, cost = OutcomeKind.COMPLETE if works else OutcomeKind.FAILED, self._cost(seconds)
        self._push(seconds, Finished(request.trial, Outcome(kind, cost, pace=pace if works else 0.0)))

    def _best(self, reports: Sequence[Report]) -> Report:
        """Return the best report; of equal ones the last, which was trained longest."""
        sign = 1 if self._facts is not None and self._facts.maximize else -1
        return max(reversed(reports), key=lambda report: sign * report.metric)

    def proceed(self, trial: int) -> None:
        """Do nothing: simulated trials never wait."""

    def stop(self, trial: int) -> None:
        """End a trial now."""
        self._end(trial, Outcome(OutcomeKind.PRUNED, reason="stopped"))

    def preempt(self, trial: int) -> None:
        """End a trial now, with a checkpoint."""
        self._end(trial, Outcome(OutcomeKind.PREEMPTED, saved=self._started(trial)))

    def _end(self, trial: int, outcome: Outcome) -> None:
        if not any(_trial_of(entry[2]) == trial for entry in self._queue):
            return
        started = self._started(trial)
        self._queue = [entry for entry in self._queue if _trial_of(entry[2]) != trial]
        heapq.heapify(self._queue)
        self._push(0.0, Finished(trial, replace(outcome, cost=started)))

    def finish_early(self, trial: int) -> None:
        """Move a trial's remaining events closer, within at most `COOLDOWN` times the seconds it has spent."""
        now, spent = self._clock.now(), self._started(trial).seconds
        ahead = [(moment - now, event) for moment, _, event in self._queue if _trial_of(event) == trial]
        left = max((after for after, _ in ahead), default=0.0)
        if left <= COOLDOWN * spent:
            return
        self._queue = [entry for entry in self._queue if _trial_of(entry[2]) != trial]
        heapq.heapify(self._queue)
        for after, event in sorted(ahead, key=lambda pair: pair[0]):
            sooner = after * COOLDOWN * spent / left
            self._push(sooner, _with_cost(event, self._cost(spent + sooner)))

    def poll(self, timeout: float) -> list[Event]:
        """Advance the clock to the next event and return it, or by `timeout` if there is none before that."""
        end = self._clock.now() + timeout
        if not self._queue or self._queue[0][0] > end:
            self._clock.advance_to(end)
            return []
        moment, _, event = heapq.heappop(self._queue)
        self._clock.advance_to(moment)
        return [event]

    def close(self) -> None:
        """Drop all scheduled events."""
        self._queue.clear()

    def _push(self, after: float, event: Event) -> None:
        heapq.heappush(self._queue, (self._clock.now() + max(0.0, after), next(self._number), event))

    def _started(self, trial: int) -> Cost:
        """Return a trial's cost so far: its total cost minus what remains."""
        ends = [(moment, e) for moment, _, e in self._queue if isinstance(e, Finished) and e.trial == trial]
        if not ends:
            return Cost()
        moment, event = ends[0]
        seconds = max(0.0, event.outcome.cost.seconds - (moment - self._clock.now()))
        return self._cost(seconds)

    def _cost(self, seconds: float) -> Cost:
        return Cost(seconds=seconds, flops=seconds * self._speed)


def _with_cost(event: Event, cost: Cost) -> Event:
    if isinstance(event, Finished):
        return replace(event, outcome=replace(event.outcome, cost=cost))
    return replace(event, report=replace(event.report, cost=cost)) if isinstance(event, Reported) else event


def _trial_of(event: Event) -> int | None:
    if isinstance(event, Finished):
        return event.trial
    return event.report.trial if isinstance(event, Reported) else None
