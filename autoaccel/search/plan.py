"""Split a budget into the ladder of trial budgets, the search's share, the final training and the reserve.

All trial budgets are shares of the whole, so the same plan works for seconds, FLOPs, or both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import REPRODUCIBLE, SECONDS, Cost, format_seconds
from autoaccel.errors import UsageError, suggestion
from autoaccel.search.ways import Way, ways

ETA = 3
"""A rung's budget is this many times that of the rung below, and one in this many recipes is promoted to it."""
SEARCH_SHARE = 0.35
"""Share of the budget for the search if all of it may be needed to train. While the loss still falls with budget,
more than about a third takes away what the final training would gain."""
EVIDENCE_SHARE = 0.15
"""Share of the budget for evidence where the longest useful training is known and is short."""
MOST_EVIDENCE = 16
"""Most trainings for evidence."""
FEWEST_STEPS = (30, 30, 100, 1000)
"""Fewest steps of a trial on the rungs below the final one, the longest rung first: the further a trial is from
the final one the less it says, and short ones favor recipes that start fast."""
WIDTHS = (6, 5, 4)
"""Numbers of trials that the search should be able to pay on the lowest rung; without the last, it is not begun."""
FEWEST_ROUNDS = 3
"""Fewest trials one after the other, however many run side by side: later ones learn from the first."""
SETUPS = 4
"""The smallest trial budget covers this many set-ups, so that set-up does not dominate a trial."""
WAITING = 60.0
"""Most seconds that a search waits for room on the disk or in memory before the final training."""
WAITING_SHARE = 0.05
"""The same as a share of the budget."""
PLAIN_BATCH = 64
EVALUATION_SHARE = 0.04
LEAST_VALID = 256


@dataclass(frozen=True)
class Plan:
    """The split of a run's budget.

    Args:
        budget: The budget of the run.
        facts: The facts from the profile.
        ladder: Trial budgets as shares of the whole, ascending; the last is the length of the final training. Empty
            if only a final training fits.
        search_share: Share of the whole after which no new search trial starts; includes what came before.
        evidence: Share of the whole for trainings after the final one that show how good it is; 0 for none.
        reserve: Seconds reserved after the final training for the report and the last files.
        longest: The longest useful training as a share of the whole, if the user has told; else infinity.
        workers: Number of parallel trials.
        nodes: How many of them each machine has, where there are several; a trial uses those of one.
        valid_samples: Validation samples that search trials use; 0 for all.
        alone: Origin of the recipe that is trained if no search fits, for display.
        again: Why the plan was made again, for display; empty for the first plan.
        ended: Why the search ended before its share was used up, for display; empty if it did not.
    """

    budget: Budget
    facts: TaskFacts
    ladder: tuple[float, ...]
    search_share: float
    reserve: float
    evidence: float = 0.0
    longest: float = math.inf
    workers: int = 1
    gpus: bool = False
    nodes: tuple[int, ...] = ()
    valid_samples: int = 0
    alone: str = "plain"
    again: str = ""
    ended: str = ""

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways in which a final training can use the devices."""
        return ways(max(self.nodes, default=self.workers), self.gpus)

    @property
    def shares_final(self) -> bool:
        """Whether the final training may have more devices than a trial of the search, which then is no such one.

        Where what is useful is known, a trial may have all of it; and CPUs that are divided among trials, since so
        they finish more, are not much faster together.
        """
        return self.gpus and len(self.ways) > 1 and self.longest == math.inf

    @property
    def top(self) -> int:
        """The rung whose trials are as long as the final training."""
        return len(self.ladder) - 1

    def reserving(self, seconds: float) -> Plan:
        """Return the plan with at least so many seconds reserved for the end, where seconds are limited."""
        return replace(self, reserve=max(self.reserve, seconds)) if self.budget.seconds else self

    @property
    def at_once(self) -> int:
        """How many trials side by side the same share of the budget pays: seconds pass once, the rest adds up."""
        return _at_once(self.budget, self.workers)

    @property
    def waiting(self) -> float:
        """Seconds that a search without room for a trial waits for it."""
        return min(WAITING, WAITING_SHARE * self.budget.seconds) if self.budget.seconds else WAITING

    @property
    def kept(self) -> Cost:
        """What is kept for the end, the test set included: a trial delivered instead would be tested too."""
        return self.facts.finalization_cost(test=True).replace(seconds=self.reserve)

    def trial_budget(self, rung: int) -> Budget:
        """Return the budget of a trial on a rung."""
        return self.budget * self.ladder[rung]

    def expected_seconds(self, budget: Budget) -> float:
        """Return how long a budget is expected to last; infinity if unknown. Limits in seconds are exact."""
        if budget.seconds is not None:
            return budget.seconds
        train = self.facts.train
        return min(
            (limit / train[n] * train.seconds for n, limit in budget.items() if train[n] > 0), default=math.inf
        )

    def plateaued(self, rung: int) -> Plan:
        """Return the plan for a task on which trainings longer than those of a rung are no longer better.

        The final training still gets the length of the next rung, to be sure; the search gets what that leaves.
        """
        if rung + 2 > len(self.ladder) or (self.ended and self.at_once > 1):
            return self
        ladder = self.ladder[: rung + 2]
        left = 1 - self.budget.share(Cost(seconds=self.reserve))
        evidence = _evidence(left, ladder[-1], self.facts, 1 if self.gpus else self.at_once)
        share = max(self.search_share, left - ladder[-1] - evidence)
        return replace(self, ladder=ladder, search_share=share, evidence=evidence)

    def cost_to(self, rung: int, parent: int | None = None) -> float:
        """Return what a trial on a rung costs after one of the same recipe on the rung `parent`."""
        if self.facts.continues and parent is not None and parent >= 0:  # else it is on no rung any more
            return self.ladder[rung] - self.ladder[parent]
        return self.ladder[rung]

    def describe(self) -> list[str]:
        """Return the plan for display, one decision per line."""
        total = f", on {self.at_once} slots {self.budget * self.at_once} in all" if self.at_once > 1 else ""
        lines = [*([self.again] if self.again else []), f"budget: {self.budget}, everything included{total}"]
        if not self.ladder:
            short = self.longest < 1
            length = f"about {self.budget * self.longest} (the longest useful one)" if short else "the whole budget"
            nothing = f"search: none fits; {self.alone} is trained with {length}"
            return [*lines, nothing, self._expected()]
        rungs = ", ".join(str(self.trial_budget(rung)) for rung in range(max(1, self.top)))
        promoted = f", one in {ETA} promoted" if self.top else ""
        more = " (later if longer trainings are no better)" if self.longest == math.inf else ""
        told = " (the longest useful one)" if self.ladder[-1] >= self.longest else ""
        return [
            *lines,
            "baselines: plain in two forms, and as far up as the best recipe",
            f"search: trials of {rungs}{promoted}; no new one after {self.search_share:.0%} of the budget{more}",
            *([self.ended] if self.ended else []),
            f"final training: the best recipe with about {self.trial_budget(self.top)}{told}{self._devices()}",
            *self._shown_evidence(),
            f"reserve: {self.reserve:.1f} s for the report and the last files",
            self._expected(),
        ]

    def _devices(self) -> str:
        most, node = self.ways[-1].devices, " of one node" if len(self.nodes) > 1 else ""
        if most == 1 or not self.gpus:
            return f", on all CPUs{node}" if most > 1 else ""
        others = set(self.budget) == {SECONDS} and not self.facts.folds
        idle = "; the others train the next best ones and evidence" if others else ""
        return f", on as many of {most} GPUs{node} as make it faster{idle}"

    def _shown_evidence(self) -> list[str]:
        count = int(self.evidence / self.ladder[-1]) * (1 if self.gpus else self.at_once)
        what = "recipe and plain with other seeds, and the recipe without each of its parts"
        return [f"evidence: {count} trainings as long: {what}"] if count else []

    def _expected(self) -> str:
        trials = 1
        if self.ladder:
            each = self.ladder[0] * max(1, self.top)  # a rung's trials cost as much as those of the one below
            trials += int(self.at_once * self.search_share / each)
        seconds = self.expected_seconds(self.budget)
        end = f", the end {format_seconds(seconds)} after the start" if math.isfinite(seconds) else ""
        return f"expected: about {trials} trials{end}"


def make_plan(
    budget: Budget,
    facts: TaskFacts,
    spent: Cost,
    workers: int,
    reserve: float,
    longest: Budget | None = None,
    gpus: bool = False,
) -> Plan:
    """Split what is left of a budget after the profile.

    Args:
        budget: The budget of the run.
        facts: The facts from the profile.
        spent: Cost of start-up and the profile.
        workers: Number of parallel trials.
        reserve: Seconds to reserve for the end.
        longest: Longest useful training of one model; None if unknown.
        gpus: Whether each trial has a GPU, and longer ones may have all.

    Raises:
        UsageError: If no meter measures what the budget is in, or it is too small to train anything; says how much
            is needed.
    """
    if unmeasured := [name for name in budget if name not in facts.train and facts.train]:
        hint = suggestion(unmeasured[0], facts.train)
        raise UsageError(f"a budget of {budget}: no meter measures that, only {', '.join(facts.train)}{hint}")
    least = [_least(budget, facts, steps) for steps in FEWEST_STEPS]
    reserve = reserve if budget.seconds else 0.0
    left = 1 - budget.share(spent) - budget.share(Cost(seconds=reserve))
    if left < least[0]:
        needed = budget * ((1 - left + least[0]) * 1.1)
        raise UsageError(f"a budget of {budget} is too small to train anything; at least {needed} is needed")
    most = _share(budget, facts, longest)
    # What is told to be useful is trained in full; else the search may take its share of it.
    final = most if most < left else left * (1 - SEARCH_SHARE) if most == math.inf else left
    at_once = _at_once(budget, workers)
    evidence = _evidence(left, final, facts, 1 if gpus else at_once) if final < left else 0.0
    ladder = _ladder(final, left - final - evidence, least, at_once)
    return Plan(
        budget=budget,
        facts=facts,
        ladder=ladder,
        search_share=(1 - final if final < most else 1.0 - evidence) if ladder else 0.0,
        evidence=evidence if ladder else 0.0,
        reserve=reserve,
        longest=most,
        workers=workers,
        gpus=gpus,
        valid_samples=_valid_samples(budget * ladder[0], facts) if ladder else 0,
    )


def _evidence(left: float, final: float, facts: TaskFacts, at_once: int) -> float:
    """Return the share to keep for evidence, if that pays a pair of trainings as long as the final one."""
    most = min(EVIDENCE_SHARE * left, math.ceil(MOST_EVIDENCE / at_once) * final)
    return most if most >= math.ceil(2 / at_once) * final and not facts.folds else 0.0


def _share(budget: Budget, facts: TaskFacts, longest: Budget | None) -> float:
    """Return the share of the whole that the longest useful training costs; infinity if that is unknown."""
    if longest is None:
        return math.inf
    limits = longest.resolve(facts.n_train)
    shares = [Budget({n: budget[n]}).share(Cost(limits)) for n in limits if n in budget]
    samples = [limit / facts.train[n] for n, limit in limits.items() if n not in budget and facts.train[n]]
    samples += [limits["samples"]] if "samples" in limits else []
    trained = [budget.share(facts.train * amount + facts.evaluation * 2 + facts.setup) for amount in samples]
    return min([*shares, *trained], default=math.inf)


def _least(budget: Budget, facts: TaskFacts, steps: int) -> float:
    """Return the smallest share of the budget that covers set-up, `steps` plain steps and two evaluations."""
    batch, trainings = facts.in_batch(PLAIN_BATCH), max(1, facts.folds)
    evaluated = 2 * min(1.0, LEAST_VALID / facts.n_valid)
    training = facts.setup * SETUPS + facts.train * (steps * batch) + facts.evaluation * evaluated
    return budget.share(training * trainings)


def _at_once(budget: Budget, workers: int) -> int:
    return workers if set(budget) == {SECONDS} else 1


def _ladder(final: float, search: float, least: Sequence[float], at_once: int) -> tuple[float, ...]:
    """Return the rungs up to the final's length; empty if the search could not pay a few trials."""
    below = [final / ETA**depth for depth in range(1, len(least) + 1)]
    ladder = (*(rung for rung, fewest in reversed([*zip(below, least, strict=True)]) if rung >= fewest), final)
    rounds = [max(FEWEST_ROUNDS, math.ceil(width / at_once)) for width in WIDTHS]
    if search >= rounds[-1] * ladder[0]:
        return ladder
    shorter = (search / count for count in rounds)
    return next(((rung, final) for rung in shorter if least[0] <= rung < final), ())


def _valid_samples(smallest: Budget, facts: TaskFacts) -> int:
    # Use measured quantities only if no limit is independent of the machine.
    counted = Budget({name: limit for name, limit in smallest.items() if name in REPRODUCIBLE}) or smallest
    share = counted.share(facts.evaluation)
    if share <= EVALUATION_SHARE:
        return 0
    samples = max(LEAST_VALID, int(facts.n_valid * EVALUATION_SHARE / share))
    return samples if samples < facts.n_valid else 0
