"""Facts about a task, measured once by the profile, that a search plans with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from autoaccel.core.quantities import Cost
from autoaccel.core.schedules import Scalar
from autoaccel.core.trial import Report

SAVING = Cost(seconds=0.02)
"""Cost of writing the weights of a small model to disk."""
TEST_MARGIN = 1.1


def combined_error(*errors: float | None) -> float | None:
    """Return the standard error of a sum or difference, or None if that of one part is unknown."""
    return None if None in errors else math.hypot(*(error for error in errors if error is not None))


@dataclass(frozen=True)
class TaskFacts:
    """Facts about a task and about training it with the plain recipe.

    Args:
        kind: image, tokens, table or series; determines the default search space.
        capabilities: Capabilities that techniques may require: the kind, and `classes`, `square`, `flips`, ...
        metric: The name of the metric.
        maximize: Whether a larger metric is better.
        n_train: Training samples after the split; 0 for a stream of unknown length.
        n_valid: Validation samples.
        n_test: Test samples; 0 without a test set.
        classes: Number of classes; 0 if the task is not classification.
        parameters: Number of trainable parameters of the model.
        train: Cost of training on one sample.
        evaluation: Cost of one evaluation on the whole validation set, without a standard error.
        resampling: Cost of the metric's standard error, where it takes further calls of the metric.
        measuring: Cost of what a goal asks to measure of a trial's model.
        setup: Cost from the request for a trial to its first step.
        profile: Cost of the profile itself.
        micro_batch: Largest batch that fits in the device's memory; 0 if no limit was found.
        device: Where the costs were measured, for display.
        fingerprint: A digest of the data. A run is resumed only with the same data.
        files: Digests of the files that the task was imported from, by their paths beside the task's own.
        understood: What was understood of the task, one line each.
        folds: Number of folds that a search trial trains on; 0 for a single split.
        continues: Whether a longer trial of a recipe continues the shorter one and costs only the difference.
        defaults: What the model factory takes for the user's own hyperparameters, as far as its signature says.
        names: The strings that class numbers stand for, if labels were strings.
        common_metric: Whether the metric has a name that is not the user's own.
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
    train: Cost = field(default_factory=Cost)
    evaluation: Cost = field(default_factory=Cost)
    resampling: Cost = field(default_factory=Cost)
    measuring: Cost = field(default_factory=Cost)
    setup: Cost = field(default_factory=Cost)
    profile: Cost = field(default_factory=Cost)
    micro_batch: int = 0
    device: str = "cpu"
    fingerprint: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    understood: tuple[str, ...] = ()
    folds: int = 0
    continues: bool = False
    defaults: Mapping[str, Scalar | None] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    common_metric: bool = False

    def score(self, report: Report) -> tuple[float, float]:
        """Return the sort key of a report, smaller is better: the metric, then the loss to break ties."""
        loss = math.inf if report.loss is None else report.loss
        return (-report.metric if self.maximize else report.metric), loss

    def error(self, *reports: Report) -> float | None:
        """Return the standard error of the difference of reports' metrics, or None if that of one is unknown."""
        return combined_error(*(report.standard_error for report in reports))

    def clearly_better(self, one: Report, other: Report, errors: float) -> bool:
        """Return whether a report is better than another by more than so many standard errors of the difference.

        False if a standard error is unknown.
        """
        error = self.error(one, other)
        return error is not None and self.score(other)[0] - self.score(one)[0] > errors * error

    def in_batch(self, size: float) -> float:
        """Return how many samples a batch of at most `size` holds."""
        return min(size, self.n_train) if self.n_train else size

    def evaluation_cost(self, samples: int = 0) -> Cost:
        """Return the expected cost of an evaluation on `samples` validation samples; 0 for all."""
        return self.evaluation * (samples / self.n_valid if samples else 1.0)

    def finalization_cost(self, test: bool) -> Cost:
        """Return the expected cost of ending: a standard error, saving, measuring, and the test set if `test`."""
        tested = (self.evaluation + self.resampling) * (TEST_MARGIN * self.n_test / self.n_valid if test else 0.0)
        return self.resampling + tested + SAVING + self.measuring
