"""The training of one given recipe: it is started, and started again where its process dies."""

from __future__ import annotations

from dataclasses import replace

from autoaccel.core.budget import Budget
from autoaccel.core.events import (
    Action,
    Event,
    Finish,
    FinishEarly,
    Interrupted,
    Preempt,
    Proceed,
    Reported,
    Start,
    Wake,
)
from autoaccel.core.quantities import SECONDS, Cost
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.search.requests import going_on
from autoaccel.search.retries import given_up
from autoaccel.search.salvage import salvage_request, salvageable

PATIENCE = 0.5
"""Seconds after which it is asked again what to do."""


class Single:
    """Decides on the one training of `train`, over all its processes and sessions.

    Args:
        request: The training, with the budget of the whole.
        reserve: Seconds to reserve for ending the processes, where seconds are limited.

    Attributes:
        trials: The tries of it so far.
    """

    def __init__(self, request: TrialRequest, reserve: float):
        self.trials = Trials()
        self._request, self._reserve = request, reserve
        self._ending = False

    @property
    def last(self) -> TrialRecord | None:
        """The last try; None before the first."""
        return self.trials.get(len(self.trials) - 1)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Handle an event and return the actions to take; see `Decisions`."""
        self.trials.handle(event, now)
        wake, running = Wake(now + PATIENCE), self.trials.running()
        match event:
            case Reported(report):
                return [Proceed(report.trial), wake]
            case Interrupted(preempted):
                self._ending = True
                ask = Preempt if preempted else FinishEarly
                return [*(ask(record.number) for record in running), wake] if running else [Finish()]
            case _ if running:
                return [wake]
        request = self._following(now)
        if request is None:
            return [Finish()]
        self.trials.handle(Start(request), now)
        return [Start(request), wake]

    def _following(self, now: float) -> TrialRequest | None:
        """Return the first try, or the next one after a try that did not end; None if there is none to follow."""
        last, request = self.last, replace(self._request, trial=len(self.trials))
        if last is not None:
            if self._ending:
                return None
            if not last.unfinished or given_up(self.trials, last):
                return self._salvage()
            request = going_on(request, last)
        budget = self._budget(request.carried, now)
        if budget is None and last is not None:
            return self._salvage()
        # Of one that is too small from the start, the training itself says so.
        return replace(request, budget=budget or self._request.budget)

    def _salvage(self) -> TrialRequest | None:
        """Return what delivers the best weights of a training that cannot go on, if it was far enough."""
        record = salvageable(self.trials, OutcomeKind.PREEMPTED)
        return salvage_request(record, len(self.trials)) if record else None

    def _budget(self, carried: Cost, now: float) -> Budget | None:
        """Return the budget of a try: what it carries and what is left of the seconds; None if nothing is."""
        budget = self._request.budget
        if not budget.seconds:
            return budget
        left = budget.seconds - now - self._reserve
        return Budget({**budget, SECONDS: carried.seconds + left}) if left > 0 else None
