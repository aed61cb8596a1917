"""Asynchronous successive halving on a ladder of budgets: a state machine from events to actions."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import replace

from autoaccel.core.budget import Budget
from autoaccel.core.events import (
    Action,
    Event,
    Extended,
    Finish,
    FinishEarly,
    Finished,
    Interrupted,
    Measured,
    Preempt,
    Proceed,
    Profiled,
    Reported,
    Short,
    Start,
    Stop,
    Wake,
)
from autoaccel.core.quantities import Cost
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import Outcome, Purpose, Report, TrialRequest
from autoaccel.search.base import Comparison, Expectation, SearchSettings
from autoaccel.search.ending import hopeless, nothing_trains, overfits
from autoaccel.search.extra import awaited, over_at, useless
from autoaccel.search.phase import Phase
from autoaccel.search.plan import Plan
from autoaccel.search.pruner import falls_behind
from autoaccel.search.rescue import rescuable, rescue_request
from autoaccel.search.retries import waiting
from autoaccel.search.scheduler import Scheduler
from autoaccel.search.trials import FINAL, LEARNED, LadderTrials, Standing

PATIENCE = 60.0
"""Seconds after which the search asks for a `Tick` if nothing else happens."""
ENDING, FILES = 1.0, 0.4
"""What a run takes for its last files and its end: seconds, at least, and a share of what is reserved."""
LEAST_FINAL = 0.1
"""Smallest share of the budget that is worth a second final training after a failed one."""


class HalvingSearch:
    """A search by successive halving; see `Search`.

    Args:
        settings: The space, budget, seed and sampler.

    Attributes:
        phase: The current phase of the run.
        trials: All trials so far.
        failure: The outcome of plain training if it raised an error.
    """

    def __init__(self, settings: SearchSettings):
        self.phase = Phase.PROFILE
        self.trials = Trials()
        self.failure: Outcome | None = None
        self._settings = settings
        self._ladder: LadderTrials
        self._scheduler: Scheduler | None = None
        self._now = 0.0
        self._short: float | None = None
        self._asked: set[int] = set()

    @property
    def plan(self) -> Plan | None:
        """The split of the budget, once the profile is known."""
        return self._scheduler.plan if self._scheduler else None

    def handle(self, event: Event, now: float) -> list[Action]:
        """See `Search`."""
        self._now = now
        self.trials.handle(event, now)
        actions: list[Action] = []
        match event:
            case Profiled():
                self._ladder = LadderTrials(self.trials, event.facts, self._settings.goal)
                self._scheduler = Scheduler(self._settings, event, self._ladder, now)
                self.phase = Phase.SEARCH
            case Extended(budget):
                self._extend(budget)
            case Reported(report):
                actions += self._on_report(report)
            case Finished(trial, outcome):
                actions += self._on_end(self.trials[trial], outcome)
                if self._ladder.limits.reaches(self.trials[trial]):
                    actions += self._end()
            case Measured(seconds) if self._scheduler is not None:
                self._scheduler.plan = self._scheduler.plan.reserving(seconds)
            case Short(why):
                self._short = now if why else None
            case Interrupted(preempted):
                # A resumed run goes on with what does not finish early.
                actions += self._end(Preempt, early=not preempted)
            case _:
                pass
        actions += self._next()
        if isinstance(event, Finished) and event.outcome.final is not None and self.phase is not Phase.DONE:
            assert self._scheduler is not None
            self._scheduler.keep()  # not while a run is being interrupted, of which a resumed one knows nothing
        return actions

    def best(self) -> TrialRecord | None:
        """See `Search`."""
        return self._scheduler.best() if self._scheduler else None

    def final(self) -> TrialRecord | None:
        """See `Search`."""
        return self._ladder.final() if self.plan else None

    def baseline(self) -> TrialRecord | None:
        """See `Search`."""
        return self._ladder.baseline() if self.plan else None

    def kept(self) -> Set[int]:
        """See `Search`."""
        return self._ladder.kept if self.plan else set()

    def comparison(self) -> Comparison | None:
        """See `Search`."""
        return self._scheduler.comparison() if self._scheduler else None

    def plain_at_full_length(self) -> Expectation | None:
        """See `Search`."""
        return self._scheduler.plain_at_full_length(self._now) if self._scheduler else None

    def describe(self) -> list[str]:
        """See `Search`."""
        return self._scheduler.describe() if self._scheduler else []

    # Events

    def _extend(self, budget: Budget) -> None:
        """Search on with a larger budget: trials leave the ladder for a longer one, what they showed stays."""
        assert self._scheduler is not None
        before, sampler = self._settings.budget, self._scheduler.sampler
        self._ladder.extend(budget.share(Cost(before)), before)
        # The sampler knows what it has proposed, and recipes of earlier runs had their turn.
        self._settings = replace(self._settings, budget=budget, known=(), sampler=lambda *_: sampler)
        plan = self._scheduler.plan
        profiled = Profiled(plan.facts, plan.workers, plan.gpus, plan.nodes)
        self._scheduler = Scheduler(self._settings, profiled, self._ladder, self._now)
        self.phase = Phase.SEARCH

    def _on_report(self, report: Report) -> list[Action]:
        record = self.trials[report.trial]
        if report.milestone == len(record.request.milestones) - 1:
            return []
        final = record.purpose is Purpose.FINAL
        if final and (self._ladder.limits.may_end(record.request, report) or overfits(self._ladder.facts, record)):
            return [FinishEarly(report.trial), Proceed(report.trial)]
        return [Stop(report.trial) if self._gives_up(record, report) else Proceed(report.trial)]

    def _gives_up(self, record: TrialRecord, report: Report) -> bool:
        if record.purpose in (Purpose.BASELINE, Purpose.EVIDENCE):
            return False
        if record.purpose is Purpose.SEARCH and self._settings.goal.second:
            return False  # of a front, the smallest model may be the worst of its rung
        if record.purpose is Purpose.FINAL:
            # Never give up a second final training, or one after an interruption: nothing can follow it.
            last = self.phase is Phase.DONE or len(self._ladder.finals()) > 1
            return not last and hopeless(self._ladder, record, report)
        assert self.trials.facts is not None
        return falls_behind(self.trials.facts.score(report)[0], self._ladder.rivals(record, report.milestone))

    def _on_end(self, record: TrialRecord, outcome: Outcome) -> list[Action]:
        assert self._scheduler is not None
        actions: list[Action] = []
        self._ladder.observe(record, self._settings.budget)
        if self.phase is Phase.SEARCH:
            actions += map(Stop, self._scheduler.plan_again(record, self._now))
        if nothing_trains(self._ladder, record):
            self.failure = outcome
            actions += self._end()
        self._tell(record, outcome)
        return actions

    def _tell(self, record: TrialRecord, outcome: Outcome) -> None:
        """Tell the sampler what became of its proposal."""
        assert self._scheduler is not None
        proposal = self._ladder.proposal(record)
        if proposal is None or record.unfinished:
            return
        if outcome.kind not in LEARNED or self._ladder.limits.spoiled(proposal.recipe):
            self._scheduler.sampler.tell(proposal, None)
        elif record.latest is not None:  # else it was stopped before it could say anything
            self._scheduler.sampler.tell(proposal, self._ladder.normalized(record, record.latest))

    def _end(self, ending: Callable[[int], Action] = Stop, early: bool = True) -> list[Action]:
        """Start no more trials, let a running final training finish early if it may, and end all other trials."""
        self.phase = Phase.DONE
        running = [record.request for record in self.trials.running()]
        return [FinishEarly(r.trial) if early and r.purpose is Purpose.FINAL else ending(r.trial) for r in running]

    # Actions

    def _next(self) -> list[Action]:
        if self._scheduler is None:
            return []
        actions: list[Action] = []
        if self.phase is Phase.SEARCH and self._short is None:
            actions += self._start(self._scheduler.next_trial)
        actions += self._make_way()
        # What is short may be there again soon. If not, the final training, for which room is kept, comes early.
        waits = self._short is not None and self._now < self._short + self._scheduler.plan.waiting
        if self.phase is Phase.SEARCH and not self._before_the_final() and not waits:
            self.phase = Phase.FINAL
            if self._settings.budget.seconds and self._scheduler.plan.ladder:
                # What is decided takes time, and the final training gets what is left when that is over.
                self._scheduler.look_again(at_once=True)
                return [*actions, Wake(self._now)]
        if self.phase is Phase.FINAL and not self._before_the_final():
            actions += self._final_actions()
        if self.phase is Phase.FINAL and self._short is None:
            actions += self._start(self._scheduler.beside_final)
        if self.phase is Phase.EVIDENCE:
            actions += [*self._start(self._scheduler.next_evidence), *self._make_way()]
        if self.phase is Phase.EVIDENCE and not self.trials.running():
            self.phase = Phase.DONE
        if self.phase is Phase.DONE and not self.trials.running():
            actions.append(Finish())
        else:
            late = self._now + PATIENCE
            actions.append(Wake(min(late, self._due) if self._due > self._now else late))
        return actions

    def _before_the_final(self) -> list[TrialRecord]:
        """Return the running trials that a final training would wait for; it may be one itself."""
        running = self.trials.running()
        if self.phase is Phase.FINAL and not awaited(self.trials, self._ladder.first):
            return [one for one in running if one.purpose in (Purpose.FINAL, Purpose.PACE)]
        settled = self._scheduler is not None and self._scheduler.settled
        return [one for one in running if not (settled and one.purpose is Purpose.EVIDENCE)]

    def _make_way(self) -> list[Action]:
        """Stop what the final training, or the end, waits for once that is due, and evidence before the final."""
        at_end = self.phase not in (Phase.SEARCH, Phase.FINAL)
        before = self.trials.running() if at_end else self._before_the_final()
        due = self._now >= self._due or (not at_end and all(one.purpose is Purpose.EVIDENCE for one in before))
        late = before if due else []
        if self.phase is Phase.FINAL:
            late = [*late, *useless(self.trials, self._ladder.first)]
        asked = {one.number for one in late} - self._asked
        self._asked |= asked
        return [Stop(number) for number in sorted(asked)]

    @property
    def _due(self) -> float:
        """Seconds into the run at which what runs makes way for what follows; infinity if it need not."""
        assert self._scheduler is not None
        if self.phase is Phase.SEARCH:
            return self._scheduler.ends_at
        ends = self.phase is Phase.DONE or any(one.purpose is Purpose.FINAL for one in self.trials.running())
        return math.inf if ends else over_at(self._scheduler.plan)

    def _start(self, following: Callable[[float], TrialRequest | None]) -> list[Action]:
        """Start trials while a worker is free and another one fits."""
        assert self._scheduler is not None
        actions: list[Action] = []
        while len(self.trials.running()) < self._scheduler.plan.workers:
            request = following(self._now)
            if request is None:
                break
            actions.append(Start(request))
        return actions

    def _final_actions(self) -> list[Action]:
        assert self._scheduler is not None
        tried = self._ladder.finals()
        share = 1 - self._settings.budget.share(self.trials.run_cost(self._now))
        trained = [record for record in tried if not record.request.rescue]
        done = any(record.final for record in tried) or len(trained) > 1 or (trained and share < LEAST_FINAL)
        cut_off = rescuable(self.trials, first=self._ladder.first)
        again = next(waiting(self.trials, Purpose.FINAL), None)
        request = None
        if not done and (again or not cut_off):
            request = self._scheduler.final_training(self._now)
        if request is None and cut_off:
            request = self._rescue(cut_off)
        if request is None:
            self.phase = Phase.EVIDENCE
            return []
        return [Start(request)]

    def _rescue(self, record: TrialRecord) -> TrialRequest | None:
        assert self._scheduler is not None
        seconds, end = self._settings.budget.seconds, max(ENDING, FILES * self._scheduler.plan.reserve)
        request = rescue_request(record, len(self.trials), seconds and seconds - self._now - end)
        if request is not None:
            self._ladder.add(request, Standing(FINAL), self._now)
        return request
