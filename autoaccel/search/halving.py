"""The search: a state machine from events to actions.

Baselines come first, then brackets of the ladder: many recipes on the lowest rung, the best third of them on
the next. When its share of the budget is spent it commits: the best recipe is trained with all that is left.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from autoaccel.core.budget import Budget, Cost
from autoaccel.core.events import (
    Action,
    Event,
    Finish,
    FinishEarly,
    Finished,
    Interrupted,
    Proceed,
    Profiled,
    Reported,
    Start,
    Stop,
    Wake,
)
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Reference, Report, TrialRequest
from autoaccel.search.brackets import Brackets
from autoaccel.search.plan import Plan, make_plan
from autoaccel.search.pruner import falls_behind
from autoaccel.search.requests import final_request, search_request
from autoaccel.search.sampler import Proposal, RecipeSampler
from autoaccel.search.trials import FINAL, Entry, Trials
from autoaccel.spaces.space import SearchSpace

FRUITLESS = 10
"""After so many failures in a row, more proposals would fail as well."""
LEAST_FINAL = 0.1
"""A second final training, after one that failed, is worth it with this share of the budget."""


class Phase(StrEnum):
    """Where the run stands."""

    PROFILE = "profile"
    SEARCH = "search"
    FINAL = "final training"
    DONE = "done"


class Search:
    """Decides what is trained.

    Args:
        space: What may be proposed.
        budget: What may be spent, everything included.
        seed: Same seed, same events: same actions.
        reserve: Seconds to keep for the report and the last files.

    Attributes:
        phase: Where the run stands.
        trials: All that was tried.
        plan: The split of the budget, once the profile is known.
        broken: The outcome of plain training, if it raised an error: nothing else was tried then.
    """

    def __init__(self, space: SearchSpace, budget: Budget, seed: int = 0, reserve: float = 1.5):
        self.phase = Phase.PROFILE
        self.trials = Trials()
        self.plan: Plan | None = None
        self.broken: Outcome | None = None
        self._space = space
        self._budget = budget
        self._seed = seed
        self._reserve = reserve
        self._flops = 0.0
        self._sampler: RecipeSampler
        self._brackets: Brackets
        self._proposed = 0
        self._exhausted = False

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in an event; returns what is to be done.

        Args:
            event: What happened.
            now: Seconds of the budget that have passed.

        Raises:
            UsageError: If the profile shows that the budget is too small.
        """
        actions: list[Action] = []
        match event:
            case Profiled():
                self._begin(event, now)
            case Reported(report):
                actions += self._on_report(report)
            case Finished(trial, outcome):
                self._book(self.trials[trial], outcome)
            case Interrupted():
                actions += self._end()
            case _:
                pass
        return actions + self._next(now)

    def spent(self, now: float) -> Cost:
        """What the run has spent."""
        return Cost(seconds=now, flops=self._flops)

    # What happened

    def _begin(self, event: Profiled, now: float) -> None:
        self._flops += event.facts.profile_flops
        self.plan = make_plan(self._budget, event.facts, self.spent(now), event.workers, self._reserve)
        self.trials = Trials(event.facts.maximize)
        space, _ = self._space.for_task(event.facts.capabilities)
        self._sampler = RecipeSampler(space, self._seed)
        self._brackets = Brackets(self.trials, [self.plan.quota(rung) for rung in range(len(self.plan.ladder))])
        self.phase = Phase.SEARCH

    def _on_report(self, report: Report) -> list[Action]:
        entry = self.trials[report.trial]
        entry.reports.append(report)
        if report.milestone == len(entry.request.milestones) - 1:
            return []
        return [Stop(report.trial) if self._gives_up(entry, report) else Proceed(report.trial)]

    def _gives_up(self, entry: Entry, report: Report) -> bool:
        if entry.request.purpose is Purpose.BASELINE:
            return False
        if entry.request.purpose is Purpose.FINAL:
            # A second final training is the last chance to use the budget, and so is one after an interruption.
            last = self.phase is Phase.DONE or len(self.trials.finals()) > 1
            return not last and self.trials.hopeless(report)
        rivals = [
            self.trials.value(other.reports[report.milestone])[0]
            for other in self.trials
            if other is not entry and other.rung == entry.rung and len(other.reports) > report.milestone
        ]
        return falls_behind(self.trials.value(report)[0], rivals)

    def _book(self, entry: Entry, outcome: Outcome) -> None:
        entry.outcome = outcome
        self._flops += outcome.cost.flops
        if entry.request.trial == 0 and outcome.kind is OutcomeKind.FAILED:
            # Nothing will train where plain training raises an error: it is the task's.
            self.broken, self.phase = outcome, Phase.DONE
        if entry.proposal is None or outcome.kind is OutcomeKind.LOST:
            return
        reports = [outcome.final] if outcome.final else entry.reports[-1:]
        learned = outcome.kind in (OutcomeKind.COMPLETE, OutcomeKind.PRUNED) and bool(reports)
        self._sampler.tell(entry.proposal, self.trials.normalized(entry.rung, reports[0]) if learned else None)

    def _end(self) -> list[Action]:
        """Begin nothing more; a final training anneals and is delivered, nobody waits for a trial of the search."""
        self.phase = Phase.DONE
        running = [entry.request for entry in self.trials.running()]
        return [FinishEarly(r.trial) if r.purpose is Purpose.FINAL else Stop(r.trial) for r in running]

    # What is to be done

    def _next(self, now: float) -> list[Action]:
        if self.plan is None:
            return []
        actions: list[Action] = []
        while self.phase is Phase.SEARCH and len(self.trials.running()) < self.plan.workers:
            request = self._search_request(now)
            if request is None:
                break
            actions.append(Start(request))
        if self.phase is Phase.SEARCH and not self.trials.running():
            self.phase = Phase.FINAL
        if self.phase is Phase.FINAL and not self.trials.running():
            actions += self._final_actions(now)
        if self.phase is Phase.DONE and not self.trials.running():
            actions.append(Finish())
        else:
            actions.append(Wake(now + 60.0))
        return actions

    def _search_request(self, now: float) -> TrialRequest | None:
        """The next trial of the search, or None when it has to wait or its share is spent."""
        assert self.plan is not None
        ladder = self.plan.ladder
        if not ladder:
            return None
        left = self.plan.search_share - self._budget.share(self.spent(now)) - self._pending()
        baselines = [e for e in self.trials if e.request.purpose is Purpose.BASELINE]
        if len(baselines) < len(PLAIN):
            name, recipe = list(PLAIN.items())[len(baselines)]
            return self._start(recipe, 0, name, Purpose.BASELINE)
        if len(baselines) == len(PLAIN) and len(ladder) > 1 and not any(e.outcome is None for e in baselines):
            if found := self.trials.plain(0):
                request = found[0].request
                return self._start(request.recipe, len(ladder) - 1, request.origin, Purpose.BASELINE)
            return None
        for rung in reversed(range(len(ladder) - 1)):
            if left >= ladder[rung + 1] and (entry := self._brackets.promotable(rung)):
                return self._promote(entry)
        if self._exhausted or self._fruitless():
            return None
        if self._brackets.open(self._proposed):
            return self._propose() if left >= ladder[0] else None
        return self._propose() if self._another_bracket(now) else None

    def _promote(self, entry: Entry) -> TrialRequest:
        entry.promoted = True
        proposal = entry.proposal and Proposal(entry.proposal.recipe, entry.proposal.origin)
        request = entry.request
        return self._start(request.recipe, entry.rung + 1, request.origin, proposal=proposal, parent=request.trial)

    def _another_bracket(self, now: float) -> bool:
        """Open another bracket when there is room for three recipes and the promotion of one."""
        assert self.plan is not None
        if self.trials.running():
            return False
        if self.trials.plateaued():
            self.plan = self.plan.plateaued()
        left = self.plan.search_share - self._budget.share(self.spent(now))
        ladder = self.plan.ladder
        if left < 3 * ladder[0] + (ladder[-1] if len(ladder) > 1 else 0.0):
            return False
        self._brackets.widen()
        return True

    def _fruitless(self) -> bool:
        outcomes = [e.outcome.kind for e in self.trials if e.proposal and e.outcome]
        learned = (OutcomeKind.COMPLETE, OutcomeKind.PRUNED)
        return len(outcomes) >= FRUITLESS and not any(kind in learned for kind in outcomes[-FRUITLESS:])

    def _propose(self) -> TrialRequest | None:
        leaders = self.trials.ranked(baseline=False)[:5]
        best = [entry.request.recipe for entry, _ in leaders]
        proposal = self._sampler.propose(best, reference=self.trials.best() is not None)
        if proposal is None:
            self._exhausted = True
            self._brackets.end(self._proposed)
            return None
        self._proposed += 1
        return self._start(proposal.recipe, 0, proposal.origin, proposal=proposal)

    def _start(
        self,
        recipe: Recipe,
        rung: int,
        origin: str,
        purpose: Purpose = Purpose.SEARCH,
        proposal: Proposal | None = None,
        parent: int | None = None,
    ) -> TrialRequest:
        assert self.plan is not None
        trial = len(self.trials)
        request = search_request(self.plan, rung, trial, recipe, self._seed, origin, purpose, parent)
        request = replace(request, reference=self._reference(recipe))
        self.trials.add(Entry(request, rung, proposal))
        return request

    def _final_actions(self, now: float) -> list[Action]:
        assert self.plan is not None
        tried = self.trials.finals()
        # A trial may be delivered instead, and would then be tested too.
        kept = Cost(seconds=self.plan.reserve, flops=self.plan.finalization(test=True).flops)
        left = self._budget.less(self.spent(now) + kept)
        share = 1 - self._budget.share(self.spent(now))
        done = any(e.final for e in tried) or len(tried) > 1 or (tried and share < LEAST_FINAL)
        if done or left is None:
            self.phase = Phase.DONE
            return []
        failed = {e.request.recipe for e in tried}
        recipe, origin, parent = PLAIN["plain"], "plain", None
        if chosen := next((e for e, _ in self.trials.ranked() if e.request.recipe not in failed), None):
            recipe, origin, parent = chosen.request.recipe, chosen.request.origin, chosen.request.trial
        request = final_request(self.plan, left, len(self.trials), recipe, self._seed, origin, parent)
        request = replace(request, reference=self._reference(recipe))
        self.trials.add(Entry(request, FINAL))
        return [Start(request)]

    def _reference(self, recipe: Recipe) -> Reference | None:
        """The best model so far, for a recipe that learns from one."""
        found = self.trials.best() if self._space.learns(recipe) else None
        return Reference(found[0].request.recipe, found[0].request.trial) if found else None

    def _pending(self) -> float:
        """Share of the budget that running trials will still take: wall seconds pass once for all of them."""
        shares = [self.plan.ladder[entry.rung] for entry in self.trials.running() if self.plan]
        if not shares:
            return 0.0
        return sum(shares) if self._budget.flops else max(shares)
