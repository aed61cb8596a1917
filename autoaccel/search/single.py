"""The training of one given recipe: it is started, and started again where its process dies."""

from __future__ import annotations

from collections.abc import Sequence
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
from autoaccel.core.trial import OutcomeKind, Purpose, TrialRequest
from autoaccel.search.pacing import shared
from autoaccel.search.requests import going_on
from autoaccel.search.rescue import CUT_OFF, rescuable, rescue_request
from autoaccel.search.retries import RETRIES
from autoaccel.search.ways import Way

PATIENCE = 0.5
"""Seconds after which it is asked again what to do."""
LATER = 60.0
"""Seconds that delivering what a checkpoint holds may take, also where the time is over."""


class Single:
    """Decides on the one training of `train`, over all its processes and sessions.

    Args:
        request: The training, with the budget of the whole.
        reserve: Seconds to reserve for ending the processes, where seconds are limited.
        ways: The ways to use the devices, those with the fewest processes first.

    Attributes:
        trials: The tries of it so far.
    """

    def __init__(self, request: TrialRequest, reserve: float, ways: Sequence[Way] = (Way(),)):
        self.trials = Trials()
        self._request, self._reserve, self._ways = request, reserve, ways
        self._ending = False
        self._session = 0

    @property
    def last(self) -> TrialRecord | None:
        """The last try to train; None before the first."""
        tried = [record for record in self.trials if record.purpose is not Purpose.PACE]
        return next((record for record in reversed(tried) if not record.request.rescue), None)

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

    def resume(self) -> None:
        """Go on in another session, in which what had been given up may be tried again."""
        self._session = len(self.trials)

    def _following(self, now: float) -> TrialRequest | None:
        """Return the first try, or the next one after a try that did not end; None if there is none to follow."""
        request, last = replace(self._request, trial=len(self.trials)), self.last
        if last is None:
            # Of a budget that is too small from the start, the training itself says so.
            request = replace(request, budget=self._budget(request.carried, now) or self._request.budget)
            return None if self._ending else shared(request, self.trials, self._ways)
        if self._ending or any(record.request.rescue and not record.unfinished for record in self.trials):
            return None
        if self._may_go_on(last):
            request = going_on(request, last)
            if budget := self._budget(request.carried, now):
                return shared(replace(request, budget=budget), self.trials, self._ways)
        return self._rescue(now)

    def _may_go_on(self, last: TrialRecord) -> bool:
        """Return whether a training is tried again: not if it died too often at one place in this session."""
        assert last.outcome is not None
        if last.number < self._session:
            return last.unfinished or (last.outcome.kind in CUT_OFF and last.checkpoint is not None)
        tried = [other for other in self.trials if other.purpose is not Purpose.PACE]
        lost = [other for other in tried if other.outcome and other.outcome.kind is OutcomeKind.LOST]
        died = [other for other in lost if other.number >= self._session and other.checkpoint == last.checkpoint]
        return last.unfinished and len(died) <= RETRIES

    def _rescue(self, now: float) -> TrialRequest | None:
        """Return what delivers the best weights of a training that cannot go on, if it was far enough."""
        record = rescuable(self.trials, OutcomeKind.PREEMPTED)
        left = max(LATER, (self._request.budget.seconds or 0.0) - now - self._reserve)
        return rescue_request(record, len(self.trials), left) if record else None

    def _budget(self, carried: Cost, now: float) -> Budget | None:
        """Return the budget of a try: what it carries and what is left of the seconds; None if nothing is."""
        budget = self._request.budget
        if not budget.seconds:
            return budget
        left = budget.seconds - now - self._reserve
        return Budget({**budget, SECONDS: carried.seconds + left}) if left > 0 else None
