"""The values that describe a trial: its request, its reports and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import REPRODUCIBLE, Cost, known
from autoaccel.core.recipe import Recipe

COOLDOWN = 0.15
"""A training that is asked to finish early anneals over this share of what it has used so far."""
SLOWER = 4.0
"""A recipe's step may take this many times as long as expected: other forwards, augmentation, a busy machine."""

LATE = 0.5
"""Progress from which a training that is cut off delivers its best weights; before, another is trained instead."""
EVALUATING = 0.02
"""Largest share of a final training's budget for evaluations besides the one at its end."""
WARMING, PACED = 6, 13
"""First steps of a training, which are slower, and steps of the budget of one that measures how long they take."""
EVALUATIONS = (16, 8, 4, 2)
"""Numbers of evaluations of a final training, the most that `EVALUATING` pays for."""


class Purpose(StrEnum):
    """The reason for running a trial; `PACE` measures how long steps take, and trains no model."""

    BASELINE = "baseline"
    SEARCH = "search"
    FINAL = "final"
    EVIDENCE = "evidence"
    PACE = "pace"


class OutcomeKind(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    INFEASIBLE = "infeasible"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    PREEMPTED = "preempted"


UNFINISHED = (OutcomeKind.LOST, OutcomeKind.PREEMPTED)
"""Outcomes of trials that did not end by themselves: the process died, or the run was killed or asked to end.

They say nothing of the recipe, so the trial is tried again.
"""


@dataclass(frozen=True)
class Reference:
    """A finished model for a trial to learn from.

    Args:
        recipe: The recipe that trained it.
        trial: Number of the trial in the same run that trained it; -1 if `weights` gives the path.
        weights: Path of its weights.
    """

    recipe: Recipe
    trial: int = -1
    weights: str = ""


@dataclass(frozen=True)
class TrialRequest:
    """A request to train one recipe with one budget.

    Args:
        trial: The trial's number within the run.
        recipe: The recipe to train with.
        budget: The trial's budget, including set-up and evaluations.
        purpose: The reason for running it.
        seed: Seeds the model, the order of the data and all random draws.
        milestones: Progress values at which it evaluates, ascending; the last is 1.0. If empty, the trial measures
            what an evaluation costs, and chooses as for a final training.
        micro_batch: Largest batch to compute at once; 0 for no limit.
        test: Whether the test set is scored at the end.
        origin: Where the recipe comes from, for display: `plain`, `portfolio NAME`, `model`, ...
        parent: The trial with the same recipe and a smaller budget that led to this one, if any.
        valid_samples: Validation samples used at milestones; 0 for all.
        evaluation: Expected cost of one evaluation, reserved until one has been measured.
        finalization: Cost reserved for what follows the last evaluation: saving, and scoring the test set.
        step: Expected cost of one training step of the plain recipe with this batch size; empty if unknown.
        grace: Seconds past its time budget after which it is killed; None for never.
        reference: The finished model that the recipe learns from, if any.
        folds: Number of folds to train on in turn, each with an equal share of the budget; 0 for a single split.
        keep_best: Whether the result is the weights of the milestone with the best validation score, not the last.
        measure: What to measure of the saved model at the end; see `autoaccel.core.goal`.
        resumes: Number of the unfinished trial of the same training from whose checkpoint this one goes on, if any.
        carried: What that training had spent at the checkpoint. The budget, and the costs that the trial reports,
            are those of the whole training; it may itself spend the budget less this.
        rescue: Whether no further step is taken, and the best weights at that checkpoint are the result.
        devices: How many of the run's devices, or of the places on its CPUs, it has for itself.
        processes: How many processes share each of its batches; on GPUs each has its own.
        speed: How many times as fast it trains as trials of the search do, at most.
        larger: How many times as large its batches are as in the recipe's trials of the search.
    """

    trial: int
    recipe: Recipe
    budget: Budget
    purpose: Purpose = Purpose.SEARCH
    seed: int = 0
    milestones: tuple[float, ...] = (1.0,)
    micro_batch: int = 0
    test: bool = False
    origin: str = ""
    parent: int | None = None
    valid_samples: int = 0
    evaluation: Cost = field(default_factory=Cost)
    finalization: Cost = field(default_factory=Cost)
    step: Cost = field(default_factory=Cost)
    grace: float | None = None
    reference: Reference | None = None
    folds: int = 0
    keep_best: bool = False
    measure: tuple[str, ...] = ()
    resumes: int | None = None
    carried: Cost = field(default_factory=Cost)
    rescue: bool = False
    devices: int = 1
    processes: int = 1
    speed: float = 1.0
    larger: int = 1


@dataclass(frozen=True)
class Report:
    """A validation result at a milestone.

    Args:
        trial: The trial's number.
        milestone: Index of the milestone, from 0.
        progress: Share of the trial's budget spent, in [0, 1].
        metric: The task's metric, in the user's units and direction; finite.
        loss: Mean task loss on the validation set; None if unknown.
        standard_error: Standard error of the metric due to the size of the validation set; None if unknown.
        cost: Cost of the trial so far.

    Raises:
        ValueError: If the metric is not finite.
    """

    trial: int
    milestone: int
    progress: float
    metric: float
    loss: float | None
    standard_error: float | None
    cost: Cost

    def __post_init__(self) -> None:
        if known(self.metric) is None:
            raise ValueError(f"trial {self.trial} reports the metric {self.metric}, which is not finite")
        for name in ("loss", "standard_error"):
            object.__setattr__(self, name, known(getattr(self, name)))


def final_milestones(share: float) -> tuple[float, ...]:
    """Return when a final training evaluates: often, as far as that is cheap, since it keeps its best weights.

    Args:
        share: Share of its budget that one evaluation takes.
    """
    # All but the last one, and the best weights are scored once more.
    count = next((count for count in EVALUATIONS if count * share <= EVALUATING), 1)
    return tuple((i + 1) / count for i in range(count))


def estimated_cost(request: TrialRequest, latest: Report | None, seconds: float, saved: Cost | None = None) -> Cost:
    """Estimate what a trial that can no longer tell has spent.

    It is assumed to have gone on as before its last report, or else as the plan expects, up to its budget. If there
    is a checkpoint, what it had spent then is known; what came after is done again, and booked, by the trial that
    goes on from there.

    Args:
        request: Its request.
        latest: Its last report, if any.
        seconds: Seconds from its request to its end.
        saved: What it had spent at its last checkpoint, if there is one.
    """
    seconds += request.carried.seconds
    reported = (latest.cost if latest else Cost()) | request.carried
    if saved:
        counted = {name: amount for name, amount in saved.items() if name in REPRODUCIBLE}
        return (reported | saved).replace(**counted, seconds=max(seconds, saved.seconds))
    known = latest.cost if latest else request.step
    if not known.seconds:
        return reported.replace(seconds=seconds)
    going_on = known * (seconds / known.seconds)
    most = {name: min(amount, request.budget.get(name, amount)) for name, amount in going_on.items()}
    return (reported | Cost(most)).replace(seconds=seconds)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and its results.

    Args:
        kind: One of `OutcomeKind`.
        cost: Total cost of the trial.
        final: The evaluation of the weights of a complete trial: the last ones, or the best if they were kept.
        test: Metric, loss and standard error on the test set, if requested; None for what is unknown.
        reason: One line for display: why it was infeasible or failed, or that it was asked to finish early.
        where: `file:line` in the user's code that caused a failure.
        first_step: Seconds from the request to the first training step.
        metric: Name of the metric.
        last: The evaluation of the last weights, where those of an earlier milestone were better and were kept.
        measured: What was measured of the saved model, by name, as far as it is a finite number.
        untested: Why the test set was not scored although that was requested.
        saved: What an unfinished trial had spent at its last checkpoint; empty if there is none.
        pace: Seconds of a step, from a trial that measures only that and trains no model; 0 if unknown.
    """

    kind: OutcomeKind
    cost: Cost = field(default_factory=Cost)
    final: Report | None = None
    test: Mapping[str, float | None] = field(default_factory=dict)
    reason: str = ""
    where: str = ""
    first_step: float = 0.0
    metric: str = ""
    last: Report | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    untested: str = ""
    saved: Cost = field(default_factory=Cost)
    pace: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "test", {name: known(value) for name, value in self.test.items()})
        finite = {name: value for name, value in self.measured.items() if known(value) is not None}
        object.__setattr__(self, "measured", finite)

    @property
    def kept(self) -> str:
        """One line for display where an earlier milestone's weights were better than the last ones, else empty."""
        if self.final is None or self.last is None:
            return ""
        one, other, tied = self.final, self.last, self.final.metric == self.last.metric
        values = [f"{report.loss if tied else report.metric:.4g}" for report in (one, other)]
        name = "loss" if tied else self.metric
        return (
            f"the weights after {one.progress:.0%} were better on validation than the last: "
            f"{name} {values[0]} against {values[1]}"
        )
