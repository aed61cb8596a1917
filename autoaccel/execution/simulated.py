"""Trials without training: results come from a table, seconds from a simulated clock.

The search cannot tell the difference, so a day's run with hundreds of seeds takes minutes.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import replace

from autoaccel.core.budget import Cost
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Event, Finished, Reported
from autoaccel.core.trial import COOLDOWN, Outcome, OutcomeKind, Report, TrialRequest

Table = Callable[[TrialRequest, float], float]
"""The metric of a request at progress p in [0, 1]."""


class TableExecutor:
    """An executor that looks results up.

    Args:
        table: Gives the metric of a request at some progress; NaN for a recipe that diverges.
        clock: Moved on from event to event.
        cost_factor: How much longer than planned every trial takes.
        standard_error: Standard error that reports claim.
        flops_per_second: Speed of the simulated machine.
    """

    def __init__(
        self,
        table: Table,
        clock: SimulatedClock,
        cost_factor: float = 1.0,
        standard_error: float = 0.0,
        flops_per_second: float = 1e9,
    ):
        self._table = table
        self._clock = clock
        self._factor = cost_factor
        self._standard_error = standard_error
        self._speed = flops_per_second
        self._queue: list[tuple[float, int, Event]] = []
        self._number = itertools.count()

    def start(self, request: TrialRequest) -> None:
        """Plan the events of a trial."""
        seconds = request.budget.seconds
        if seconds is None:
            seconds = (request.budget.flops or 0.0) / self._speed
        seconds *= self._factor
        last: Report | None = None
        for index, p in enumerate(request.milestones):
            spent = Cost(seconds * p, seconds * p * self._speed)
            metric = self._table(request, p)
            if metric != metric:
                outcome = Outcome(OutcomeKind.INFEASIBLE, spent, reason="diverged")
                self._push(seconds * p, Finished(request.trial, outcome))
                return
            last = Report(request.trial, index, p, metric, metric, self._standard_error, spent)
            self._push(seconds * p, Reported(last))
        test = {"metric": last.metric, "loss": last.loss} if request.test and last else {}
        whole = Cost(seconds, seconds * self._speed)
        self._push(seconds, Finished(request.trial, Outcome(OutcomeKind.COMPLETE, whole, last, test)))

    def proceed(self, trial: int) -> None:
        """Simulated trials wait for nobody."""

    def stop(self, trial: int) -> None:
        """End a trial now."""
        started = self._started(trial)
        self._queue = [entry for entry in self._queue if _trial_of(entry[2]) != trial]
        heapq.heapify(self._queue)
        self._push(0.0, Finished(trial, Outcome(OutcomeKind.PRUNED, started, reason="stopped")))

    def finish_early(self, trial: int) -> None:
        """Bring what is ahead of a trial closer: it takes `COOLDOWN` of what was spent, or less."""
        now, spent = self._clock.now(), self._started(trial).seconds
        ahead = [(moment - now, event) for moment, _, event in self._queue if _trial_of(event) == trial]
        left = max((after for after, _ in ahead), default=0.0)
        if left <= COOLDOWN * spent:
            return
        self._queue = [entry for entry in self._queue if _trial_of(entry[2]) != trial]
        heapq.heapify(self._queue)
        for after, event in sorted(ahead, key=lambda pair: pair[0]):
            sooner = after * COOLDOWN * spent / left
            self._push(sooner, _with_cost(event, Cost(spent + sooner, (spent + sooner) * self._speed)))

    def poll(self, timeout: float) -> list[Event]:
        """The next event, moving the clock on to it, or nothing when it is later than `timeout`."""
        end = self._clock.now() + timeout
        if not self._queue or self._queue[0][0] > end:
            self._clock.advance_to(end)
            return []
        moment, _, event = heapq.heappop(self._queue)
        self._clock.advance_to(moment)
        return [event]

    def close(self) -> None:
        """Forget all that is planned."""
        self._queue.clear()

    def _push(self, after: float, event: Event) -> None:
        heapq.heappush(self._queue, (self._clock.now() + after, next(self._number), event))

    def _started(self, trial: int) -> Cost:
        """What a trial has spent until now: its whole cost less what is still ahead."""
        ends = [(moment, e) for moment, _, e in self._queue if isinstance(e, Finished) and e.trial == trial]
        if not ends:
            return Cost()
        moment, event = ends[0]
        seconds = max(0.0, event.outcome.cost.seconds - (moment - self._clock.now()))
        return Cost(seconds, seconds * self._speed)


def _with_cost(event: Event, cost: Cost) -> Event:
    if isinstance(event, Finished):
        return replace(event, outcome=replace(event.outcome, cost=cost))
    return replace(event, report=replace(event.report, cost=cost)) if isinstance(event, Reported) else event


def _trial_of(event: Event) -> int | None:
    if isinstance(event, Finished):
        return event.trial
    return event.report.trial if isinstance(event, Reported) else None
