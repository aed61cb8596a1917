"""The search: a state machine from events to actions.

Baselines come first, then brackets of the ladder: many recipes on the lowest rung, the best third of them on
the next. When its share of the budget is spent it commits: the best recipe is trained with all that is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from autoaccel.budget import Budget, Cost
from autoaccel.recipe import PLAIN, Recipe
from autoaccel.search.plan import Plan, make_plan
from autoaccel.search.pruner import falls_behind
from autoaccel.search.sampler import Proposal, RecipeSampler
from autoaccel.space import SearchSpace
from autoaccel.trial import (
    Action,
    Event,
    Finish,
    Finished,
    Interrupted,
    Outcome,
    OutcomeKind,
    Profiled,
    Purpose,
    Report,
    Reported,
    Start,
    Stop,
    TrialRequest,
    Wake,
)

HANG_SHARE = 0.5
"""A trial that is late by this share of its budget hangs; one that is a little late had a busy machine."""
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


@dataclass
class Entry:
    """A trial that was started.

    Args:
        request: What was asked.
        rung: Its rung; -1 for a final training.
        proposal: Where its recipe comes from; None for baselines and final trainings.
        reports: Its evaluations.
        outcome: How it ended; None while it runs.
        promoted: Whether its recipe was given a larger budget.
    """

    request: TrialRequest
    rung: int
    proposal: Proposal | None = None
    reports: list[Report] = field(default_factory=list)
    outcome: Outcome | None = None
    promoted: bool = False

    @property
    def final(self) -> Report | None:
        """The evaluation at the end, if it was complete."""
        return self.outcome.final if self.outcome else None


class Search:
    """Decides what is trained.

    Args:
        space: What may be proposed.
        budget: What may be spent, everything included.
        seed: Same seed, same events: same actions.
        reserve: Seconds to keep for the report and the last files.

    Attributes:
        phase: Where the run stands.
        entries: All trials by their number.
        plan: The split of the budget, once the profile is known.
        broken: The outcome of plain training, if it raised an error: nothing else was tried then.
    """

    def __init__(self, space: SearchSpace, budget: Budget, seed: int = 0, reserve: float = 1.5):
        self.phase = Phase.PROFILE
        self.entries: dict[int, Entry] = {}
        self.plan: Plan | None = None
        self.broken: Outcome | None = None
        self._space = space
        self._budget = budget
        self._seed = seed
        self._reserve = reserve
        self._flops = 0.0
        self._sampler: RecipeSampler | None = None
        self._proposed = 0
        self._exhausted = False
        self._quota: list[int] = []

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
                actions += self._judge(report)
            case Finished(trial, outcome):
                self._book(self.entries[trial], outcome)
            case Interrupted():
                self.phase = Phase.DONE
                actions += [Stop(trial) for trial in self._running()]
            case _:
                pass
        return actions + self._next(now)

    def spent(self, now: float) -> Cost:
        """What the run has spent."""
        return Cost(seconds=now, flops=self._flops)

    def value(self, report: Report) -> tuple[float, float]:
        """What is compared, smaller is better: the metric, and the loss where metrics are equal."""
        assert self.plan is not None
        return (-report.metric if self.plan.facts.maximize else report.metric), report.loss

    def rung(self, rung: int, baseline: bool | None = None) -> list[tuple[Entry, Report]]:
        """The complete trials of a rung, best first; with `baseline`, only plain ones or only others."""
        found = [
            (entry, entry.final)
            for entry in self.entries.values()
            if entry.rung == rung
            and entry.final is not None
            and baseline in (None, entry.request.purpose is Purpose.BASELINE)
        ]
        return sorted(found, key=lambda pair: self.value(pair[1]))

    def plain(self, rung: int) -> tuple[Entry, Report] | None:
        """The better plain recipe on a rung."""
        return next(iter(self.rung(rung, baseline=True)), None)

    def best(self) -> tuple[Entry, Report] | None:
        """The best recipe on the highest rung where anything was completed; plain where nothing beats it."""
        return next(iter(self._ranked()), None)

    def _ranked(self) -> list[tuple[Entry, Report]]:
        """All complete trials of the search, those of the highest rung first and the best first among them."""
        rungs = reversed(range(len(self.plan.ladder) if self.plan else 0))
        return [pair for rung in rungs for pair in self.rung(rung)]

    def final(self) -> Entry | None:
        """The complete final training."""
        return next((e for e in self.entries.values() if e.rung == -1 and e.final is not None), None)

    # What happened

    def _begin(self, event: Profiled, now: float) -> None:
        spent = self.spent(now)
        self.plan = make_plan(self._budget, event.facts, spent, event.slots, self._reserve)
        space, _ = self._space.for_task(event.facts.traits)
        self._sampler = RecipeSampler(space, self._seed)
        self._quota = [self.plan.quota(rung) for rung in range(len(self.plan.ladder))]
        self.phase = Phase.SEARCH

    def _judge(self, report: Report) -> list[Action]:
        entry = self.entries[report.trial]
        entry.reports.append(report)
        last = report.milestone == len(entry.request.milestones) - 1
        if last or entry.request.purpose is not Purpose.SEARCH:
            return []
        rivals = [
            self.value(other.reports[report.milestone])[0]
            for other in self.entries.values()
            if other is not entry and other.rung == entry.rung and len(other.reports) > report.milestone
        ]
        return [Stop(report.trial)] if falls_behind(self.value(report)[0], rivals) else []

    def _book(self, entry: Entry, outcome: Outcome) -> None:
        entry.outcome = outcome
        self._flops += outcome.cost.flops
        if entry.request.trial == 0 and outcome.kind is OutcomeKind.FAILED:
            # Nothing will train where plain training raises an error: it is the task's.
            self.broken, self.phase = outcome, Phase.DONE
        if entry.proposal is None or self._sampler is None or outcome.kind is OutcomeKind.LOST:
            return
        reports = [outcome.final] if outcome.final else entry.reports[-1:]
        relative = self._relative(entry.rung, reports[0]) if reports else None
        failed = outcome.kind not in (OutcomeKind.COMPLETE, OutcomeKind.PRUNED)
        self._sampler.tell(entry.proposal, None if failed else relative)

    def _relative(self, rung: int, report: Report) -> float | None:
        """How much worse than plain at the same budget: comparable across rungs, where the metric is not."""
        known = [(abs(r - rung), found) for r in range(len(self._quota)) if (found := self.plain(r))]
        if not known:
            return None
        return self.value(report)[0] - self.value(min(known, key=lambda pair: pair[0])[1][1])[0]

    # What is to be done

    def _next(self, now: float) -> list[Action]:
        if self.plan is None:
            return []
        actions: list[Action] = []
        while self.phase is Phase.SEARCH and len(self._running()) < self.plan.slots:
            request = self._search_request(now)
            if request is None:
                break
            actions.append(Start(request))
        if self.phase is Phase.SEARCH and not self._running():
            self.phase = Phase.FINAL
        if self.phase is Phase.FINAL and not self._running():
            actions += self._final_actions(now)
        if self.phase is Phase.DONE and not self._running():
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
        baselines = [e for e in self.entries.values() if e.request.purpose is Purpose.BASELINE]
        if len(baselines) < len(PLAIN):
            name, recipe = list(PLAIN.items())[len(baselines)]
            return self._start(recipe, 0, name, Purpose.BASELINE)
        if len(baselines) == len(PLAIN) and len(ladder) > 1 and not any(e.outcome is None for e in baselines):
            if found := self.plain(0):
                request = found[0].request
                return self._start(request.recipe, len(ladder) - 1, request.origin, Purpose.BASELINE)
            return None
        for rung in reversed(range(len(ladder) - 1)):
            if left >= ladder[rung + 1] and (entry := self._promotable(rung)):
                entry.promoted = True
                return self._start(
                    entry.request.recipe,
                    rung + 1,
                    entry.request.origin,
                    proposal=entry.proposal and Proposal(entry.proposal.recipe, entry.proposal.origin),
                    parent=entry.request.trial,
                )
        if self._exhausted or self._fruitless():
            return None
        if self._proposed < self._quota[0]:
            return self._propose() if left >= ladder[0] else None
        return self._propose() if self._another_bracket(now) else None

    def _promotable(self, rung: int) -> Entry | None:
        """The best recipe of a rung that is full and owes the next one a recipe."""
        if not self._closed(rung) or len(self._tried(rung + 1)) >= self._quota[rung + 1]:
            return None
        ranked = [entry for entry, _ in self.rung(rung, baseline=False)]
        return next((entry for entry in ranked if not entry.promoted), None)

    def _closed(self, rung: int) -> bool:
        """Whether a rung has all the recipes it will get, and their outcomes.

        The rung below may have fewer to give than were wanted: pruned and infeasible trials are not promoted.
        """
        tried = self._tried(rung)
        if any(entry.outcome is None for entry in tried):
            return False
        return len(tried) >= self._quota[rung] or (
            rung > 0 and self._closed(rung - 1) and self._promotable(rung - 1) is None
        )

    def _tried(self, rung: int) -> list[Entry]:
        return [e for e in self.entries.values() if e.rung == rung and e.proposal]

    def _another_bracket(self, now: float) -> bool:
        """Open another bracket when there is room for three recipes and the promotion of one."""
        assert self.plan is not None
        if self._running():
            return False
        if self._saturated():
            self.plan = self.plan.saturated()
        left = self.plan.search_share - self._budget.share(self.spent(now))
        ladder = self.plan.ladder
        if left < 3 * ladder[0] + (ladder[-1] if len(ladder) > 1 else 0.0):
            return False
        self._quota = [q + max(1, 3 if rung == 0 else 1) for rung, q in enumerate(self._quota)]
        return True

    def _saturated(self) -> bool:
        """Whether three times the budget no longer gives more than the noise of the validation set."""
        gains = []
        for entry in self.entries.values():
            parent = self.entries.get(entry.request.parent if entry.request.parent is not None else -1)
            if parent and parent.final and entry.final:
                gain = self.value(parent.final)[0] - self.value(entry.final)[0]
                gains.append(gain - entry.final.noise)
        return bool(gains) and median(gains) < 0

    def _fruitless(self) -> bool:
        outcomes = [e.outcome.kind for e in self.entries.values() if e.proposal and e.outcome]
        learned = (OutcomeKind.COMPLETE, OutcomeKind.PRUNED)
        return len(outcomes) >= FRUITLESS and not any(kind in learned for kind in outcomes[-FRUITLESS:])

    def _propose(self) -> TrialRequest | None:
        assert self._sampler is not None
        best = [entry.request.recipe for entry in self._leaders()[:5]]
        proposal = self._sampler.propose(best)
        if proposal is None:
            self._exhausted = True
            self._quota[0] = self._proposed
            return None
        self._proposed += 1
        return self._start(proposal.recipe, 0, proposal.origin, proposal=proposal)

    def _leaders(self) -> list[Entry]:
        assert self.plan is not None
        rungs = reversed(range(len(self.plan.ladder)))
        return [entry for rung in rungs for entry, _ in self.rung(rung, baseline=False)]

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
        budget = self.plan.trial_budget(rung)
        request = TrialRequest(
            trial=len(self.entries),
            recipe=recipe,
            budget=budget,
            purpose=purpose,
            seed=self._seed,
            milestones=(0.4, 1.0),
            micro_batch=self._micro_batch(),
            origin=origin,
            parent=parent,
            valid_samples=self.plan.valid_samples,
            evaluation=self.plan.evaluation(self.plan.valid_samples),
            landing=self.plan.landing(test=False),
            grace=self._grace(budget),
        )
        self.entries[request.trial] = Entry(request, rung, proposal)
        return request

    def _grace(self, budget: Budget) -> float:
        assert self.plan is not None
        if budget.seconds:
            return max(2.0, HANG_SHARE * budget.seconds)
        facts = self.plan.facts
        expected = (budget.flops or 0.0) * facts.train_seconds / facts.train_flops if facts.train_flops else 0.0
        return 60.0 + 20 * expected

    def _micro_batch(self) -> int:
        assert self.plan is not None
        # What fits a device was measured, and nothing measured may enter a decision of a pure FLOP budget.
        return 0 if self._budget.deterministic else self.plan.facts.micro_batch

    def _final_actions(self, now: float) -> list[Action]:
        assert self.plan is not None
        tried = [e for e in self.entries.values() if e.rung == -1]
        left = self._budget.less(self.spent(now) + Cost(seconds=self.plan.reserve))
        share = 1 - self._budget.share(self.spent(now))
        done = any(e.final for e in tried) or len(tried) > 1 or (tried and share < LEAST_FINAL)
        if done or left is None:
            self.phase = Phase.DONE
            return []
        failed = {e.request.recipe for e in tried}
        recipe, origin, parent = PLAIN["plain"], "plain", None
        if chosen := next((e for e, _ in self._ranked() if e.request.recipe not in failed), None):
            recipe, origin, parent = chosen.request.recipe, chosen.request.origin, chosen.request.trial
        full = self.plan.evaluation(0)
        request = TrialRequest(
            trial=len(self.entries),
            recipe=recipe,
            budget=left,
            purpose=Purpose.FINAL,
            seed=self._seed,
            milestones=(0.25, 0.5, 0.75, 1.0) if left.share(full) < 0.01 else (1.0,),
            micro_batch=self._micro_batch(),
            test=self.plan.facts.n_test > 0,
            origin=origin,
            parent=parent,
            evaluation=full,
            landing=self.plan.landing(test=True),
            grace=max(0.3, 0.4 * self.plan.reserve) if left.seconds else self._grace(left),
        )
        self.entries[request.trial] = Entry(request, -1)
        return [Start(request)]

    def _running(self) -> list[int]:
        return [trial for trial, entry in self.entries.items() if entry.outcome is None]

    def _pending(self) -> float:
        """Share of the budget that running trials will still take: wall seconds pass once for all of them."""
        shares = [self.plan.ladder[e.rung] for e in self.entries.values() if e.outcome is None and self.plan]
        if not shares:
            return 0.0
        return sum(shares) if self._budget.flops else max(shares)
