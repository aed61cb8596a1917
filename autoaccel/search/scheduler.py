"""Which trial of a search comes next, and what is trained in the end.

Baselines come first, then the recipes known to be good, then new ones; at any time the most promising third of a
rung is promoted to the next. A trial is started only if the final training still fits after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from autoaccel.core.budget import Budget
from autoaccel.core.events import Profiled
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import Purpose, Reference, TrialRequest
from autoaccel.search.base import Comparison, Expectation, Findings, Promise, Proposal, SearchSettings
from autoaccel.search.candidates import Candidate, candidates, recommended
from autoaccel.search.commitment import why_end
from autoaccel.search.delivery import compared, delivered
from autoaccel.search.expectation import expected_plain
from autoaccel.search.extra import after_final, beside_final
from autoaccel.search.front import FrontModel
from autoaccel.search.guard import guard, plain_first
from autoaccel.search.optuna_sampler import portfolio_proposals
from autoaccel.search.outlook import outlook
from autoaccel.search.pacing import shared
from autoaccel.search.plan import make_plan
from autoaccel.search.promotion import promotable, promotion, remaining
from autoaccel.search.replan import plan_again, plateau
from autoaccel.search.requests import Next, final_request, going_on, search_request, unfinished
from autoaccel.search.retries import waiting
from autoaccel.search.samplers import find_sampler
from autoaccel.search.trials import FINAL, LadderTrials, Standing
from autoaccel.search.usage import Room, Used
from autoaccel.search.valuation import Valuation

LEADERS = 5
"""Number of best recipes that a sampler may mutate."""
KEPT = 5
"""Number of trials whose weights are kept, besides those that would be needed in any case."""


class Scheduler:
    """Decides which trial comes next.

    Args:
        settings: The space, budget, seed and sampler.
        profiled: The facts of the task, and how many trials run side by side.
        ladder: The trials of the run.
        now: Seconds since the start of the run.

    Attributes:
        plan: The split of the budget.
    """

    def __init__(self, settings: SearchSettings, profiled: Profiled, ladder: LadderTrials, now: float):
        facts = profiled.facts
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
        there = profiled.workers, settings.reserve, settings.longest, profiled.gpus
        plan = make_plan(settings.budget, facts, spent, *there)
        self.plan = replace(plan, nodes=profiled.nodes, alone=recommended(self._portfolio)[0].origin)
        self.sampler = find_sampler(settings.sampler)(space, settings.seed)
        self._set_up = settings.budget.share(facts.profile if len(self._trials) else spent)  # not if extended
        length = plan.ladder[-1] if plan.ladder else 1.0
        self._valuation = Valuation(space, facts, settings.seed, length, defaults, self._elsewhere)
        self._proposed = 0
        self._exhausted = False
        self._front = FrontModel(space, settings.goal, settings.seed)
        self._outlook = ""

    def plan_again(self, record: TrialRecord, now: float) -> list[int]:
        """Make the plan again, once, if one of the first, plain trials cost clearly more or less than planned.

        Returns:
            The running trials that have no place on a new ladder and are to be stopped.
        """
        before, longest = self.plan.ladder, self._settings.longest
        self.plan = plan_again(self.plan, self._ladder.records, record, now, longest)
        if self.plan.ladder == before:
            return []
        self._ladder.new_ladder()
        # Alone, the second plain trial has hardly begun.
        stopped = self._trials.running() if self.plan.at_once > 1 else []
        begun = (self._ladder.proposal(one) for one in stopped)
        self._known[:0] = [Proposal(found.recipe, found.origin) for found in begun if found]
        return [one.number for one in stopped]

    def next_trial(self, now: float) -> TrialRequest | None:
        """Return the next trial of the search, or None if it must wait or no other fits."""
        if not self.plan.ladder:
            return None
        if (found := self._next(now)) is None:
            return self._seed(now)
        request = search_request(self.plan, found, len(self._trials), self._settings.seed)
        return self._add(request, Standing(found.rung, found.proposal), now)

    def _next(self, now: float) -> Next | None:
        baselines = self._ladder.baselines()
        if len(baselines) < len(PLAIN):
            name, recipe = list(PLAIN.items())[len(baselines)]
            return Next(recipe, 0, name, Purpose.BASELINE)
        self.look_again()
        room = self._room(now)
        if self.plan.at_once > 1 and self._ladder.fruitless():
            self._exhausted, room = True, room.until_what_runs_has_ended()
            self.plan = room.plan
        again = (found for found in unfinished(self._ladder) if room.fits(found.rung))
        if found := next(again, None) or guard(room) or promotion(room, self._earned(room)):
            return found
        # What is begun on a plan that may change is for nothing, and so is an idle slot, which alone costs nothing.
        adds_up = self.plan.at_once == 1 and not self._budget.deterministic
        may_replan = adds_up and all(record.running for record in baselines)
        if may_replan or self._exhausted or self._ladder.fruitless():
            return None
        return self._new(room)

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
        known = plan.facts.setup.seconds, self._settings.longest, plan.facts if plan.longest == math.inf else None
        return self._add(shared(request, self._trials, plan.ways, *known), Standing(FINAL), now)

    def _seed(self, now: float) -> TrialRequest | None:
        """Return a training for evidence for a slot that would idle while the last trials of the search end.

        If they change what is to be trained in the end, it is stopped for that.
        """
        searching = any(record.purpose is not Purpose.EVIDENCE for record in self._trials.running())
        wanted = self.plan.at_once > 1 and self.settled and searching
        return self.next_evidence(now) if wanted else None

    def next_evidence(self, now: float) -> TrialRequest | None:
        """Return a training to show how good the delivered recipe is, or None; see `after_final`."""
        model = delivered(self._ladder.final(), self.best(), self._ladder.limits)
        request = after_final(self.plan, self._ladder, model, now)
        return request and self._add(request, Standing(FINAL), now)

    def beside_final(self, now: float) -> TrialRequest | None:
        """Return a training for devices that the final one leaves idle, or None; see `beside_final`."""
        top, found = self.plan.top, candidates(self._ladder, self._portfolio, [*self._trusted()])
        request = beside_final(self.plan, self._ladder, found, self._settings.seed, now)
        return request and self._add(request, Standing(top if request.purpose is Purpose.SEARCH else FINAL), now)

    def best(self) -> TrialRecord | None:
        """Return the best trial as long as the final training, or else the longest of the most trusted recipe."""
        return next(self._ladder.best_first(self.plan.top, self._trusted()), None)

    def keep(self) -> None:
        """Let go of the weights of all but the best few trials: beliefs change, and with them what is best."""
        best = {record.number: record for record in self._ladder.best_first(self.plan.top, self._trusted())}
        self._ladder.keep(islice(best.values(), KEPT))

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
        length = min(self._budget.share(self._trials.run_cost(now)) - self._set_up, self.plan.longest)
        speed = max((record.request.speed for record in self._trials.of(Purpose.FINAL)), default=1.0)
        return expected_plain(self._trials, self._budget, self._valuation.belief, length, speed)

    def _chosen(self) -> Candidate | None:
        """Return the recipe of the final training; None if there is none, or it has been trained at that length."""
        if self.plan.ladder:
            self.look_again(at_once=True)
        trusted = self._trusted()
        # The first one failed, so what short trials say of others is doubtful too; larger batches may be to blame.
        if any(record.request.larger == 1 for record in self._ladder.finals()):
            trusted = (recipe for recipe in trusted if recipe in self._elsewhere)
        found = next(candidates(self._ladder, self._portfolio, [*trusted]), None)
        if found is None or not self.plan.ladder or self.plan.longest == math.inf:
            return found
        return None if self._trained_in_full(found.recipe) else found

    @property
    def settled(self) -> bool:
        """Whether nothing is left to train in the end: the recipe for it has been trained as long as is useful."""
        return self.plan.longest < math.inf and self._trained_in_full(self._first)

    @property
    def ends_at(self) -> float:
        """Seconds into the run at which trials beside others have to be over; infinity for no limit."""
        return self._room(0.0).ends_at if self.plan.ladder else math.inf

    def _trained_in_full(self, recipe: Recipe | None) -> bool:
        """Return whether a recipe has been trained as long as in the end."""
        return any(record.request.recipe == recipe for record in self._ladder.on(self.plan.top))

    def look_again(self, at_once: bool = False) -> None:
        """Bring the beliefs up to date, and the plan if longer trainings turn out to be no better."""
        if self.plan.longest == math.inf and (rung := plateau(self._ladder)) is not None:
            self.plan = self.plan.plateaued(rung)
        self._valuation.update(self._ladder.observations, self.plan.ladder[-1], at_once)
        if self._front.searched:
            self._front.update(self._valuation.mean, self._ladder.limits.least)
        if target := self._settings.goal.target:
            line = outlook(target, self.plan.facts, self._valuation, self.plan.ladder[-1])
            self._outlook = self._outlook if line and self._outlook else line  # said once, until it changes

    def _earned(self, room: Room) -> Iterable[TrialRecord]:
        """Return the trials whose recipes may be trained longer: all where there is no other recipe to try."""
        top, order = self.plan.top, self._front.order() if self._front.searched else self._valuation.mean
        if not self._exhausted or self.plan.ended:
            return promotable(self._ladder, top, order)
        rounds = (1 - room.used.spent) / self.plan.ladder[-1] - (0 if room.settled else 1)
        hopes = order if self._front.searched else self._valuation.hopes(rounds * self.plan.at_once)
        return remaining(self._ladder, top, hopes, self._first)

    def _room(self, now: float) -> Room:
        used = Used.of(self._budget, self._ladder, now, Purpose.EVIDENCE)
        settled = self._trained_in_full(self._first) and not self.plan.shares_final
        return Room(self.plan, self._ladder, used, self._first, settled)

    def _new(self, room: Room) -> Next | None:
        """Return a trial of a new recipe, or of plain training if that is needed to compare it with."""
        fitting = [rung for rung in range(self.plan.top + 1) if room.fits(rung)]
        if not fitting:
            return None
        left = (1 - room.used.spent - self.plan.ladder[-1]) * self.plan.at_once
        rung = fitting[self._valuation.start([self.plan.ladder[rung] for rung in fitting], left)]
        if first := plain_first(self._ladder, rung):
            return first
        plain = self._ladder.baseline()
        rung = min(rung, self._ladder.rung(plain) if plain else 0)
        proposal = self._proposal()
        if proposal is None:
            self._exhausted = True
            return promotion(room, self._earned(room))
        if proposal.promised is not None and not room.settled and not self.plan.ended:
            free = 1 - room.used.spent - room.used.running - self._budget.share(self.plan.kept)
            new = len(self._valuation.mean.keys() - self._elsewhere)
            ended = why_end(self.plan, self._valuation, proposal.promised, rung, free, new)
            if ended and self.plan.at_once > 1:
                self._known.insert(0, proposal)
                room = room.until_what_runs_has_ended(ended)
                self.plan = room.plan
                return self._new(room)
            if ended:
                self.plan, self._exhausted = replace(self.plan, ended=ended), True
                return None
        self._proposed += 1
        return Next(proposal.recipe, rung, proposal.origin, proposal=proposal)

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
        if request.resumes is None:
            best = self.best() if self._settings.space.learns(request.recipe) else None
            reference = Reference(best.request.recipe, best.number) if best else None
            request = replace(request, reference=reference, measure=self._settings.goal.measures)
        self._ladder.add(request, standing, now)
        return request
