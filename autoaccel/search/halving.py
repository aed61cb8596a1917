"""Successive halving on a ladder of budgets: a state machine from events to actions.

Baselines come first, then brackets: many recipes on the lowest rung, the best third of them on the next. When the
search has spent its share of the budget, the best recipe is trained with all that is left.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

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
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Reference, Report, TrialRequest
from autoaccel.search.base import Comparison, Proposal, Sampler, SearchSettings
from autoaccel.search.brackets import Brackets
from autoaccel.search.candidates import candidates, recommended
from autoaccel.search.optuna_sampler import portfolio_proposals
from autoaccel.search.plan import Plan, make_plan
from autoaccel.search.pruner import falls_behind
from autoaccel.search.replan import plan_again
from autoaccel.search.requests import final_request, search_request
from autoaccel.search.samplers import find_sampler
from autoaccel.search.trials import FINAL, LEARNED, LadderTrials, Standing

LEADERS = 5
"""Number of best recipes that a sampler may mutate."""
PATIENCE = 60.0
"""Seconds after which the search asks for a `Tick` if nothing else happens."""
LEAST_FINAL = 0.1
"""Smallest share of the budget that is worth a second final training after a failed one."""


class Phase(StrEnum):
    """The phase of a run."""

    PROFILE = "profile"
    SEARCH = "search"
    FINAL = "final training"
    DONE = "done"


class HalvingSearch:
    """A search by successive halving; see `Search`.

    Args:
        settings: The space, budget, seed and sampler.

    Attributes:
        phase: The current phase of the run.
        trials: All trials so far.
        plan: The split of the budget, once the profile is known.
        failure: The outcome of plain training if it raised an error.
    """

    def __init__(self, settings: SearchSettings):
        self.phase = Phase.PROFILE
        self.trials = Trials()
        self.plan: Plan | None = None
        self.failure: Outcome | None = None
        self._settings = settings
        self._budget = settings.budget
        self._ladder: LadderTrials
        self._sampler: Sampler
        self._brackets: Brackets
        self._portfolio: list[Proposal] = []
        self._proposed = 0
        self._exhausted = False
        self._now = 0.0

    def handle(self, event: Event, now: float) -> list[Action]:
        """See `Search`."""
        self._now = now
        self.trials.handle(event, now)
        actions: list[Action] = []
        match event:
            case Profiled():
                self._begin(event)
            case Reported(report):
                actions += self._on_report(report)
            case Finished(trial, outcome):
                self._replan(self.trials[trial])
                self._learn(self.trials[trial], outcome)
            case Interrupted():
                actions += self._end()
            case _:
                pass
        return actions + self._next()

    def best(self) -> TrialRecord | None:
        """See `Search`."""
        return self._ladder.best() if self.plan else None

    def final(self) -> TrialRecord | None:
        """See `Search`."""
        return self._ladder.final() if self.plan else None

    def baseline(self) -> TrialRecord | None:
        """See `Search`."""
        return self._ladder.baseline() if self.plan else None

    def comparison(self) -> Comparison | None:
        """See `Search`: compares on the highest rung that has both a complete recipe and a complete plain one."""
        return self._ladder.comparison() if self.plan else None

    def describe(self) -> list[str]:
        """See `Search`."""
        return self.plan.describe() if self.plan else []

    # Events

    def _begin(self, event: Profiled) -> None:
        facts, settings = event.facts, self._settings
        self.plan = make_plan(self._budget, facts, self.trials.run_cost(self._now), event.workers, settings.reserve)
        self._ladder = LadderTrials(self.trials, facts)
        space, _ = settings.space.for_task(facts.capabilities)
        self._portfolio = portfolio_proposals(space)
        self.plan = replace(self.plan, alone=recommended(self._portfolio)[0].origin)
        self._known = [each for each in settings.known if each.recipe not in {p.recipe for p in self._portfolio}]
        self._sampler = find_sampler(settings.sampler)(space, settings.seed)
        self._brackets = Brackets(self._ladder, [self.plan.quota(rung) for rung in range(len(self.plan.ladder))])
        self.phase = Phase.SEARCH

    def _replan(self, record: TrialRecord) -> None:
        """Make the plan again, once, if one of the first, plain trials cost clearly more or less than planned."""
        early = self.phase is Phase.SEARCH and not self._proposed and record.number < len(PLAIN)
        # On a busy machine two short trials may contradict each other, and the later one is the shorter.
        if not early or not record.final or self.plan is None or self.plan.again:
            return
        made = plan_again(self.plan, record, self.trials.run_cost(self._now))
        if made.ladder != self.plan.ladder:
            self._ladder.new_ladder()
            self._brackets = Brackets(self._ladder, [made.quota(rung) for rung in range(len(made.ladder))])
        self.plan = made

    def _on_report(self, report: Report) -> list[Action]:
        record = self.trials[report.trial]
        if report.milestone == len(record.request.milestones) - 1:
            return []
        return [Stop(report.trial) if self._gives_up(record, report) else Proceed(report.trial)]

    def _gives_up(self, record: TrialRecord, report: Report) -> bool:
        if record.purpose is Purpose.BASELINE:
            return False
        if record.purpose is Purpose.FINAL:
            # Never give up a second final training, or one after an interruption: nothing can follow it.
            last = self.phase is Phase.DONE or len(self._ladder.finals()) > 1
            return not last and self._ladder.hopeless(report)
        assert self.plan is not None
        return falls_behind(self.plan.facts.score(report)[0], self._ladder.rivals(record, report.milestone))

    def _learn(self, record: TrialRecord, outcome: Outcome) -> None:
        if record.number == 0 and outcome.kind is OutcomeKind.FAILED:
            # If plain training raises an error, nothing else will train either: the task is at fault.
            self.failure, self.phase = outcome, Phase.DONE
        proposal = self._ladder.proposal(record)
        if proposal is None or outcome.kind is OutcomeKind.LOST:
            return
        if outcome.kind not in LEARNED:
            self._sampler.tell(proposal, None)
        elif record.latest is not None:  # else it was stopped before it could say anything
            self._sampler.tell(proposal, self._ladder.normalized(record, record.latest))

    def _end(self) -> list[Action]:
        """Start no more trials, let a running final training finish early, and stop all other trials."""
        self.phase = Phase.DONE
        running = [record.request for record in self.trials.running()]
        return [FinishEarly(r.trial) if r.purpose is Purpose.FINAL else Stop(r.trial) for r in running]

    # Actions

    def _next(self) -> list[Action]:
        if self.plan is None:
            return []
        actions: list[Action] = []
        while self.phase is Phase.SEARCH and len(self.trials.running()) < self.plan.workers:
            request = self._search_request()
            if request is None:
                break
            actions.append(Start(request))
        if self.phase is Phase.SEARCH and not self.trials.running():
            self.phase = Phase.FINAL
        if self.phase is Phase.FINAL and not self.trials.running():
            actions += self._final_actions()
        if self.phase is Phase.DONE and not self.trials.running():
            actions.append(Finish())
        else:
            actions.append(Wake(self._now + PATIENCE))
        return actions

    def _search_request(self) -> TrialRequest | None:
        """Return the next trial of the search, or None if it must wait or its share is spent."""
        assert self.plan is not None
        ladder = self.plan.ladder
        if not ladder:
            return None
        left = (
            self.plan.search_share
            - self._budget.share(self.trials.run_cost(self._now))
            - self._ladder.pending(self._budget)
        )
        baselines = self._ladder.baselines()
        if len(baselines) < len(PLAIN):
            name, recipe = list(PLAIN.items())[len(baselines)]
            return self._start(recipe, 0, name, Purpose.BASELINE)
        again = len(baselines) == len(PLAIN) and len(ladder) > 1 and not any(r.running for r in baselines)
        if again and (found := self._ladder.plain(0)):
            return self._start(found.request.recipe, len(ladder) - 1, found.request.origin, Purpose.BASELINE)
        for rung in reversed(range(len(ladder) - 1)):
            if left >= ladder[rung + 1] and (record := self._brackets.promotable(rung)):
                return self._promote(record)
        may_replan = not self._budget.deterministic and all(record.running for record in baselines)
        if may_replan or self._exhausted or self._ladder.fruitless():
            return None
        if self._brackets.open(self._proposed):
            return self._propose() if left >= ladder[0] else None
        return self._propose() if self._another_bracket() else None

    def _promote(self, record: TrialRecord) -> TrialRequest:
        self._ladder.promote(record)
        proposal, request, rung = self._ladder.proposal(record), record.request, self._ladder.rung(record)
        again = proposal and Proposal(proposal.recipe, proposal.origin)
        return self._start(request.recipe, rung + 1, request.origin, proposal=again, parent=request.trial)

    def _another_bracket(self) -> bool:
        """Open another bracket if the budget allows three more recipes and the promotion of one."""
        assert self.plan is not None
        if self.trials.running():
            return False
        if self._ladder.plateaued():
            self.plan = self.plan.plateaued()
        left = self.plan.search_share - self._budget.share(self.trials.run_cost(self._now))
        ladder = self.plan.ladder
        if left < 3 * ladder[0] + (ladder[-1] if len(ladder) > 1 else 0.0):
            return False
        self._brackets.widen()
        return True

    def _propose(self) -> TrialRequest | None:
        best = [record.request.recipe for record in self._ladder.ranked(baseline=False)[:LEADERS]]
        proposal = self._known.pop(0) if self._known else self._sampler.propose(best, bool(self._ladder.best()))
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
        trial, seed = len(self.trials), self._settings.seed
        request = search_request(self.plan, rung, trial, recipe, seed, origin, purpose, parent)
        return self._add(request, Standing(rung, proposal))

    def _add(self, request: TrialRequest, standing: Standing) -> TrialRequest:
        request = replace(request, reference=self._reference(request.recipe))
        self._ladder.add(request, standing, self._now)
        return request

    def _final_actions(self) -> list[Action]:
        assert self.plan is not None
        tried, spent = self._ladder.finals(), self.trials.run_cost(self._now)
        # Reserve the cost of the test set: a trial delivered instead would be tested too.
        kept = self.plan.facts.finalization_cost(test=True).replace(seconds=self.plan.reserve)
        left = self._budget.less(spent + kept)
        share = 1 - self._budget.share(spent)
        done = any(record.final for record in tried) or len(tried) > 1 or (tried and share < LEAST_FINAL)
        chosen = next(candidates(self._ladder, self._portfolio, searched=bool(self.plan.ladder)), None)
        if done or left is None or chosen is None:
            self.phase = Phase.DONE
            return []
        request = final_request(self.plan, left, len(self.trials), chosen, self._settings.seed)
        return [Start(self._add(request, Standing(FINAL)))]

    def _reference(self, recipe: Recipe) -> Reference | None:
        """Return the best model so far if the recipe learns from one."""
        found = self._ladder.best() if self._settings.space.learns(recipe) else None
        return Reference(found.request.recipe, found.number) if found else None
