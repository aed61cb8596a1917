"""Which trial of a search comes next, and what is trained in the end.

Baselines come first, then the recipes known to be good, then new ones; at any time the most promising third of a
rung is promoted to the next. A trial is started only if the final training still fits after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from autoaccel.core.budget import Budget
from autoaccel.core.events import Profiled
from autoaccel.core.quantities import SECONDS, Cost
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import Purpose, Reference, TrialRequest
from autoaccel.search.base import Comparison, Expectation, Findings, Promise, Proposal, SearchSettings
from autoaccel.search.candidates import Candidate, candidates, recommended
from autoaccel.search.commitment import why_end
from autoaccel.search.delivery import compared, delivered
from autoaccel.search.evidence import Run, length_of, missing
from autoaccel.search.expectation import expected_plain
from autoaccel.search.front import FrontModel
from autoaccel.search.optuna_sampler import portfolio_proposals
from autoaccel.search.outlook import outlook
from autoaccel.search.pacing import shared
from autoaccel.search.plan import make_plan
from autoaccel.search.promotion import promotable, remaining
from autoaccel.search.replan import plan_again
from autoaccel.search.requests import Next, evidence_request, final_request, going_on, search_request, unfinished
from autoaccel.search.retries import waiting
from autoaccel.search.samplers import find_sampler
from autoaccel.search.trials import FINAL, LadderTrials, Standing
from autoaccel.search.usage import Used
from autoaccel.search.valuation import Valuation

LEADERS = 5
"""Number of best recipes that a sampler may mutate."""
GUARD = 0.1
"""Largest share of the budget that plain training may take to be compared with the best recipe on a rung."""
TOLERANCE = 1e-9


class Scheduler:
    """Decides which trial comes next.

    Args:
        settings: The space, budget, seed and sampler.
        facts: The facts of the task.
        workers: Number of parallel trials.
        ladder: The trials of the run.
        now: Seconds since the start of the run.

    Attributes:
        plan: The split of the budget.
    """

    def __init__(self, settings: SearchSettings, profiled: Profiled, ladder: LadderTrials, now: float):
        facts, workers = profiled.facts, profiled.workers
        self._settings = settings
        self._budget = settings.budget
        self._ladder = ladder
        self._trials = ladder.records
        spent = self._trials.run_cost(now)
        space, _ = settings.space.for_task(facts.capabilities)
        self._portfolio = portfolio_proposals(space)
        shipped = {proposal.recipe for proposal in self._portfolio}
        self._elsewhere = {*shipped, *PLAIN.values()}
        defaults = {self._portfolio[0].recipe} if self._portfolio else set(PLAIN.values())
        self._known = [proposal for proposal in settings.known if proposal.recipe not in shipped]
        plan = make_plan(settings.budget, facts, spent, workers, settings.reserve, settings.longest)
        self.plan = replace(plan, gpus=profiled.gpus, alone=recommended(self._portfolio)[0].origin)
        self.sampler = find_sampler(settings.sampler)(space, settings.seed)
        self._set_up = settings.budget.share(facts.profile if len(self._trials) else spent)  # not if extended
        length = plan.ladder[-1] if plan.ladder else 1.0
        self._valuation = Valuation(space, facts, settings.seed, length, defaults, self._elsewhere)
        self._proposed = 0
        self._exhausted = False
        self._front = FrontModel(space, settings.goal, settings.seed)
        self._outlook = ""

    def plan_again(self, record: TrialRecord, now: float) -> None:
        """Make the plan again, once, if one of the first, plain trials cost clearly more or less than planned."""
        early = not self._proposed and record.number < len(PLAIN)
        # On a busy machine two short trials may contradict each other, and the later one is the shorter.
        if not early or not record.final or self.plan.again:
            return
        made = plan_again(self.plan, record, self._trials.run_cost(now), self._settings.longest)
        if made.ladder != self.plan.ladder:
            self._ladder.new_ladder()
        self.plan = made

    def next_trial(self, now: float) -> TrialRequest | None:
        """Return the next trial of the search, or None if it must wait or no other fits."""
        if not self.plan.ladder or (found := self._next(now)) is None:
            return None
        request = search_request(self.plan, found, len(self._trials), self._settings.seed)
        return self._add(request, Standing(found.rung, found.proposal), now)

    def _next(self, now: float) -> Next | None:
        baselines = self._ladder.baselines()
        if len(baselines) < len(PLAIN):
            name, recipe = list(PLAIN.items())[len(baselines)]
            return Next(recipe, 0, name, Purpose.BASELINE)
        self.look_again()
        used = self._used(now)
        again = (found for found in unfinished(self._ladder) if self._fits(found.rung, used))
        if found := next(again, None) or self._guard(used) or self._promotion(used):
            return found
        may_replan = not self._budget.deterministic and all(record.running for record in baselines)
        if may_replan or self._exhausted or self._ladder.fruitless():
            return None
        return self._new(used)

    def final_training(self, now: float) -> TrialRequest | None:
        """Return the final training, or None if too little is left, or the best recipe has been trained so long."""
        plan, spent = self.plan, self._trials.run_cost(now)
        again = next(waiting(self._trials, Purpose.FINAL), None)
        left, chosen = self._budget.less(spent + plan.kept), Candidate.of(again) if again else self._chosen()
        if left is None or chosen is None:
            return None
        parent = self._trials.get(chosen.parent) if plan.facts.continues else None
        had = again.checkpoint[1] if again and again.checkpoint else Cost(parent.request.budget if parent else {})
        left = Budget({name: limit + had[name] for name, limit in left.items()})
        longest = plan.ladder[-1] if plan.evidence else plan.longest
        if longest < math.inf:
            left = left * min(1.0, longest / self._budget.share(Cost(left)))
        request = going_on(final_request(plan, left, len(self._trials), chosen, self._settings.seed), again)
        request = shared(request, self._trials, plan.ways, plan.facts.setup.seconds)
        return self._add(request, Standing(FINAL), now)

    def next_evidence(self, now: float) -> TrialRequest | None:
        """Return a training to show how good the delivered recipe is, or None if no other fits or adds to it."""
        model = delivered(self._ladder.final(), self.best(), self._ladder.limits)
        plain = self._ladder.baseline()
        if model is None or plain is None or self.plan.facts.folds:
            return None
        length, again = length_of(model), next(waiting(self._trials, Purpose.EVIDENCE), None)
        run = Run.of(again) if again else missing(self._trials, model, plain.request.recipe)
        ends = self._used(now).after(self._budget.share(Cost(length)))
        taken = sum(record.request.devices for record in self._trials.running())
        beside = taken + model.request.devices <= self.plan.workers
        if run is None or not beside or ends + self._budget.share(self.plan.kept) > 1:
            return None
        request = evidence_request(self.plan, length, len(self._trials), run, model.request)
        return self._add(going_on(request, again), Standing(FINAL), now)

    def best(self) -> TrialRecord | None:
        """Return the best trial as long as the final training, or else the longest of the most trusted recipe."""
        as_long = self._ladder.on(self.plan.top) if self.plan.ladder else []
        measured = (record for record in as_long if self._ladder.limits.allowed(record.request.recipe))
        complete = self._ladder.longest()
        believed = (complete[recipe] for recipe in self._trusted() if recipe in complete)
        return next(chain(measured, believed, self._ladder.ranked()), None)

    def comparison(self) -> Comparison | None:
        """Compare the recipe that is trusted most with the better plain one; see `compared`."""
        return compared(self._ladder, self._trusted())

    def _trusted(self) -> Iterable[Recipe]:
        """Yield the recipes that were tried and may be trained, best first; see `Valuation`."""
        return filter(self._ladder.limits.allowed, self._valuation.trusted)

    @property
    def _first(self) -> Recipe | None:
        """The recipe that would be trained in the end."""
        return next(iter(self._trusted()), None)

    def describe(self) -> list[str]:
        """Return the plan for display, and what is expected of the target."""
        return [*self.plan.describe(), *([self._outlook] if self._outlook else [])]

    def plain_at_full_length(self, now: float) -> Expectation | None:
        """See `Search`: what plain would have had is all that was spent but for the set-up."""
        # Trained as the final one is, plain would have had more of the same seconds.
        speed = max((record.request.speed for record in self._ladder.finals()), default=1.0)
        length = speed * min(self._budget.share(self._trials.run_cost(now)) - self._set_up, self.plan.longest)
        return expected_plain(self._trials, self._budget, self._valuation.belief, length)

    def _chosen(self) -> Candidate | None:
        """Return the recipe of the final training; None if there is none, or it has been trained at that length."""
        if self.plan.ladder:
            self.look_again(at_once=True)
        trusted = self._trusted()
        if self._ladder.finals():  # the first one failed, so what short trials say of the others is doubtful too
            trusted = (recipe for recipe in trusted if recipe in self._elsewhere)
        found = next(candidates(self._ladder, self._portfolio, [*trusted]), None)
        if found is None or not self.plan.ladder or self.plan.longest == math.inf:
            return found
        return None if self._trained_in_full(found.recipe) else found

    def _trained_in_full(self, recipe: Recipe | None) -> bool:
        """Return whether a recipe has been trained as long as in the end."""
        return any(record.request.recipe == recipe for record in self._ladder.on(self.plan.top))

    def look_again(self, at_once: bool = False) -> None:
        """Bring the beliefs up to date, and the plan if longer trainings turn out to be no better."""
        if self.plan.longest == math.inf and (rung := self._ladder.plateaued()) is not None:
            self.plan = self.plan.plateaued(rung)
        self._valuation.update(self._ladder.observations, self.plan.ladder[-1], at_once)
        if self._front.searched:
            self._front.update(self._valuation.mean, self._ladder.limits.least)
        if target := self._settings.goal.target:
            line = outlook(target, self.plan.facts, self._valuation, self.plan.ladder[-1])
            self._outlook = self._outlook if line and self._outlook else line  # said once, until it changes

    def _guard(self, used: Used) -> Next | None:
        """Return a trial of plain training on the highest rung on which a recipe has to be compared with it."""
        plain, best = self._ladder.baseline(), next(iter(self._ladder.ranked(baseline=False)), None)
        if plain is None or best is None:
            return None
        rung, below = self._ladder.rung(best), self._ladder.rung(plain)
        costly = rung <= below or self.plan.cost_to(rung, below) > GUARD
        if costly or not self._may_follow(plain, rung) or not self._fits(rung, used, plain):
            return None
        return self._longer(plain, rung)

    def _may_follow(self, plain: TrialRecord, rung: int) -> bool:
        """Return whether plain may go up to a rung: not while one is running, and not if it failed there."""
        waits = any(record.running for record in self._ladder.baselines())
        return not waits and plain.request.recipe not in self._ladder.recipes_on(rung)

    def _promotion(self, used: Used) -> Next | None:
        for record in self._earned(used):
            following = self._longer(record, self._ladder.rung(record) + 1)
            if self._fits(following.rung, used, following.parent):
                return following
        return None

    def _earned(self, used: Used) -> Iterable[TrialRecord]:
        """Return the trials whose recipes may be trained longer: all where there is no other recipe to try."""
        top, order = self.plan.top, self._front.order() if self._front.searched else self._valuation.mean
        if not self._exhausted or self.plan.ended:
            return promotable(self._ladder, top, order)
        room = (1 - used.spent) / self.plan.ladder[-1] - (0 if self._trained_in_full(self._first) else 1)
        hopes = order if self._front.searched else self._valuation.hopes(room)
        return remaining(self._ladder, top, hopes, self._first)

    def _longer(self, record: TrialRecord, rung: int) -> Next:
        """Return the trial on a higher rung of a recipe that was trained."""
        proposal, request = self._ladder.proposal(record), record.request
        again = proposal and Proposal(proposal.recipe, proposal.origin)
        return Next(request.recipe, rung, request.origin, request.purpose, again, record if record.final else None)

    def _fits(self, rung: int, used: Used, parent: TrialRecord | None = None) -> bool:
        """Return whether a trial on a rung ends within the search's share and leaves enough to train in the end."""
        plan, budget = self.plan, self._budget
        cost = plan.cost_to(rung, self._ladder.rung(parent) if parent else None)
        ends, first = used.after(cost), self._first
        # A trial of the recipe that would be trained in the end, as long as that, takes its place.
        is_final = rung == plan.top and parent is not None and parent.request.recipe == first
        final = 0.0 if is_final or self._trained_in_full(first) else plan.ladder[-1]
        return ends <= plan.search_share + TOLERANCE and ends + final + budget.share(plan.kept) <= 1 + TOLERANCE

    def _used(self, now: float) -> Used:
        spent = self._budget.share(self._trials.run_cost(now))
        return Used(spent, self._ladder.running_length(self._budget, now), set(self._budget) == {SECONDS})

    def _new(self, used: Used) -> Next | None:
        """Return a trial of a new recipe, or of plain training if that is needed to compare it with."""
        fitting = [rung for rung in range(self.plan.top + 1) if self._fits(rung, used)]
        if not fitting:
            return None
        left = 1 - used.spent - self.plan.ladder[-1]
        rung = fitting[self._valuation.start([self.plan.ladder[rung] for rung in fitting], left)]
        plain = self._ladder.baseline()
        known = self._ladder.rung(plain) if plain else 0
        if plain and known < rung and self._may_follow(plain, rung):
            return self._longer(plain, rung)
        proposal = self._proposal()
        if proposal is None:
            self._exhausted = True
            return self._promotion(used)
        if proposal.promised is not None and not self._trained_in_full(self._first):
            free = 1 - used.spent - used.running - self._budget.share(self.plan.kept)
            new = len(self._valuation.mean.keys() - self._elsewhere)
            ended = why_end(self.plan, self._valuation, proposal.promised, min(rung, known), free, new)
            if ended:
                self.plan, self._exhausted = replace(self.plan, ended=ended), True
                return None
        self._proposed += 1
        return Next(proposal.recipe, min(rung, known), proposal.origin, proposal=proposal)

    def _proposal(self) -> Proposal | None:
        if self._known and self._proposed:  # the portfolio's first has its turn before
            return self._known.pop(0)
        best = self._valuation.leaders(LEADERS)
        promise: Promise | None = self._valuation.promise if best else None
        if self._front.searched:
            best, promise = list(self._front.order())[:LEADERS], self._front.promise()
        spoiled = self._ladder.limits.plain_spoiled or self._front.searched
        return self.sampler.propose(Findings(best, self.best() is not None, promise, spoiled))

    def _add(self, request: TrialRequest, standing: Standing, now: float) -> TrialRequest:
        measure = self._settings.goal.measures
        if request.resumes is None:
            request = replace(request, reference=self._reference(request.recipe), measure=measure)
        self._ladder.add(request, standing, now)
        return request

    def _reference(self, recipe: Recipe) -> Reference | None:
        """Return the best model so far if the recipe learns from one."""
        found = self.best() if self._settings.space.learns(recipe) else None
        return Reference(found.request.recipe, found.number) if found else None
