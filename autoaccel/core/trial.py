"""A trial as values: what is asked of it, what it reports, how it ended, and the facts of its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from autoaccel.core.budget import Budget, Cost
from autoaccel.core.recipe import Recipe

COOLDOWN = 0.15
"""A training that is asked to finish now anneals within this share of what it has used until then."""


class Purpose(StrEnum):
    """Why a trial is run."""

    BASELINE = "baseline"
    SEARCH = "search"
    FINAL = "final"


class OutcomeKind(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    INFEASIBLE = "infeasible"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"


@dataclass(frozen=True)
class TaskFacts:
    """What the plan needs to know of a task, measured once in the profile.

    Args:
        kind: image, tokens, table or series: decides the default search space.
        capabilities: What techniques may need: the kind, and `classes`, `square`, `flips`, ...
        metric: The name of the metric.
        maximize: Whether a larger metric is better.
        n_train: Samples trained on, after the split.
        n_valid: Samples validated on.
        n_test: Samples in the test set; 0 without one.
        classes: Number of classes, 0 for other targets.
        parameters: Number of trainable parameters of the model.
        train_flops: FLOPs to train one sample with the plain recipe.
        valid_flops: FLOPs of one evaluation on the validation set.
        train_seconds: Seconds to train one sample with the plain recipe.
        valid_seconds: Seconds of one evaluation on the validation set.
        setup_seconds: Seconds from a request to a trial's first step.
        profile_seconds: Seconds that it took to measure all this.
        profile_flops: FLOPs that it took.
        micro_batch: Largest batch that fits the device at once; 0 when no limit was found.
        device: Where it was measured, for people.
        fingerprint: Identifies the data; a run is resumed only with the same.
    """

    kind: str
    capabilities: frozenset[str]
    metric: str
    maximize: bool
    n_train: int
    n_valid: int
    n_test: int = 0
    classes: int = 0
    parameters: int = 0
    train_flops: float = 0.0
    valid_flops: float = 0.0
    train_seconds: float = 0.0
    valid_seconds: float = 0.0
    setup_seconds: float = 0.0
    profile_seconds: float = 0.0
    profile_flops: float = 0.0
    micro_batch: int = 0
    device: str = "cpu"
    fingerprint: str = ""

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "capabilities": sorted(self.capabilities)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> TaskFacts:
        """The inverse of `to_data`."""
        return cls(**{**data, "capabilities": frozenset(data["capabilities"])})


@dataclass(frozen=True)
class Reference:
    """A finished model that a trial learns from.

    Args:
        recipe: What it was trained with.
        trial: The trial of the same run that made it; -1 where `weights` say where it lies.
        weights: Path of its weights.
    """

    recipe: Recipe
    trial: int = -1
    weights: str = ""

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"recipe": self.recipe.to_data(), "trial": self.trial, "weights": self.weights}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Reference:
        """The inverse of `to_data`."""
        return cls(**{**data, "recipe": Recipe.from_data(data["recipe"])})


@dataclass(frozen=True)
class TrialRequest:
    """One recipe to be trained with one budget.

    Args:
        trial: Number of the trial within the run.
        recipe: What to train with.
        budget: All that the trial may spend, its set-up and evaluations included.
        purpose: Why it is run.
        seed: Seeds the model, the order of the data and all random draws.
        milestones: Shares of progress, ascending, at which it evaluates; the end (1.0) is the last.
        micro_batch: Largest batch to be computed at once; 0 for no limit.
        test: Whether the test set is scored at the end.
        origin: For people: where the recipe comes from, such as `plain`, `portfolio NAME`, `model`.
        parent: The trial whose recipe is trained again with a larger budget, if any.
        valid_samples: Validation samples used at milestones; 0 for all.
        evaluation: Expected cost of one evaluation; set aside until one was measured.
        finalization: Set aside for the time after the last evaluation: saving, the test set.
        grace: Seconds beyond those of its budget after which it is killed; None for never.
        reference: The finished model that the recipe learns from, if it needs one.
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
    grace: float | None = None
    reference: Reference | None = None

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        same = ("trial", "seed", "micro_batch", "test", "origin", "parent", "valid_samples", "grace")
        data = {name: getattr(self, name) for name in same}
        return {
            **data,
            "recipe": self.recipe.to_data(),
            "budget": self.budget.to_data(),
            "purpose": self.purpose.value,
            "milestones": list(self.milestones),
            "evaluation": asdict(self.evaluation),
            "finalization": asdict(self.finalization),
            "reference": self.reference and self.reference.to_data(),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> TrialRequest:
        """The inverse of `to_data`."""
        return cls(
            **{
                **data,
                "recipe": Recipe.from_data(data["recipe"]),
                "budget": Budget(**data["budget"]),
                "purpose": Purpose(data["purpose"]),
                "milestones": tuple(data["milestones"]),
                "evaluation": Cost(**data["evaluation"]),
                "finalization": Cost(**data["finalization"]),
                "reference": Reference.from_data(data["reference"]) if data.get("reference") else None,
            }
        )


@dataclass(frozen=True)
class Report:
    """A validation result at a milestone.

    Args:
        trial: The trial's number.
        milestone: Index of the milestone, from 0.
        progress: Share of the trial's budget spent.
        metric: The task's metric, as the user reads it.
        loss: Mean task loss on the validation set.
        standard_error: Standard error of the metric that the size of the validation set causes.
        cost: Spent by the trial so far.
    """

    trial: int
    milestone: int
    progress: float
    metric: float
    loss: float
    standard_error: float
    cost: Cost

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Report:
        """The inverse of `to_data`."""
        return cls(**{**data, "cost": Cost(**data["cost"])})


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and with what.

    Args:
        kind: One of `OutcomeKind`.
        cost: All that it spent.
        final: The evaluation at the end of a complete trial.
        test: Metric and loss on the test set, where they were asked for.
        reason: For people: why it was infeasible or failed, or that it was asked to finish early, in one line.
        where: `file:line` of the user's code that a failure came from.
        first_step: Seconds from the request to the first training step.
        metric: Name of the metric.
    """

    kind: OutcomeKind
    cost: Cost = field(default_factory=Cost)
    final: Report | None = None
    test: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    where: str = ""
    first_step: float = 0.0
    metric: str = ""

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "kind": self.kind.value}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Outcome:
        """The inverse of `to_data`."""
        final = data.get("final")
        return cls(
            **{
                **data,
                "kind": OutcomeKind(data["kind"]),
                "cost": Cost(**data["cost"]),
                "final": Report.from_data(final) if final else None,
            }
        )
