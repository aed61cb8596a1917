"""The task's metric: the loss, a mean over samples, or a function of all predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import map_tensors
from autoaccel.training.metrics.noise import FEWEST, GROUPS, error_of_mean, jackknife, known
from autoaccel.training.metrics.objective import weighted_mean
from autoaccel.training.metrics.readout import BINARY, CLASSES, Readout

Evaluated = tuple[float, float | None]
"""A metric and its standard error, None if unknown."""


@dataclass(frozen=True)
class Losses:
    """The losses of an evaluation.

    Args:
        each: Loss of each sample, shape [n], or of each batch where the loss is one number a batch.
        counts: How much each one counts, of the same shape; None if all count alike.
    """

    each: Tensor
    counts: Tensor | None

    def mean(self) -> float:
        """Return the mean loss."""
        return weighted_mean(self.each, self.counts)


@dataclass(frozen=True)
class Metric:
    """The metric by which trials are compared; this one derives from the mean loss.

    Args:
        name: Its name, with how classes are averaged if that was left open.
        maximize: Whether larger is better.
        transform: Maps the mean to the metric.
    """

    name: str
    maximize: bool
    transform: Callable[[float], float] = float

    def collect(self, output: Any, targets: Any, weights: Tensor | None) -> Any:
        """Return what has to be kept of a batch, as small as possible; None for nothing.

        Args:
            output: The model's output, in the units of the user's targets.
            targets: The targets.
            weights: Weight of each sample, shape [n], or None.
        """
        return None

    def evaluate(self, losses: Losses, kept: Sequence[Any], error: bool) -> Evaluated:
        """Return the metric and its standard error.

        Args:
            losses: The losses of all samples.
            kept: What was collected, a part for each batch, on the CPU.
            error: Whether the standard error is needed where it takes further calls of the metric.
        """
        return self.of_mean(losses)

    def resamples(self, count: int) -> int:
        """Return how many further calls of the metric a standard error takes for `count` samples."""
        return 0

    def of_mean(self, values: Losses) -> Evaluated:
        """Return the metric and its standard error from values whose mean it derives from."""
        mean, error = values.mean(), error_of_mean(values.each, values.counts)
        value = self.transform(mean)
        return value, None if error is None else known(abs(self.transform(mean + error) - value))

    def _number(self, value: Any) -> float:
        """Return what a function has returned as a number.

        Raises:
            TaskError: If it is a text, even one that reads like a number.
        """
        if isinstance(value, str | bytes):
            raise TaskError(f"the metric {self.name} returns the text {value!r:.40}, where a number is expected")
        return float(value)


@dataclass(frozen=True)
class MeanMetric(Metric):
    """A metric that is a mean over positions, such as the accuracy or an absolute error.

    Args:
        readout: How predictions are read from outputs.
        score: `(predictions, targets) -> Tensor`, the value of each position.
    """

    readout: Readout = Readout("other")  # noqa: RUF009 - a frozen value
    score: Callable[[Tensor, Tensor], Tensor] = torch.eq

    def collect(self, output: Any, targets: Any, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the sum over each sample's positions, shape [n], and how many they are."""
        predicted = self.readout.predictions(output)
        values = self.score(predicted.reshape(targets.shape), targets).double().reshape(len(targets), -1)
        counted = self.readout.counted(targets)
        shown = torch.ones_like(values) if counted is None else counted.reshape(values.shape).double()
        if weights is not None:
            shown = shown * weights[:, None].to(shown)
        return (values * shown).sum(1), shown.sum(1)

    def evaluate(self, losses: Losses, kept: Sequence[Any], error: bool) -> Evaluated:
        """Return the metric and its standard error, in closed form."""
        total, counts = (torch.cat(parts) for parts in zip(*kept, strict=True))
        return self.of_mean(Losses(total / counts.clamp(min=1e-300), counts))


@dataclass(frozen=True)
class PredictionMetric(Metric):
    """A metric of all predictions at once, such as F1 or the area under a curve.

    Args:
        readout: How predictions are read from outputs.
        function: `(targets, predictions, **weights) -> float` on arrays.
        probabilities: Whether the function gets probabilities instead of predictions.
        weighted: Whether the function takes `sample_weight`.
    """

    readout: Readout = Readout("other")  # noqa: RUF009 - a frozen value
    function: Callable[..., Any] = float
    probabilities: bool = False
    weighted: bool = False

    def collect(self, output: Any, targets: Any, weights: Tensor | None) -> Mapping[str, Tensor]:
        """Return the targets and the predictions of a batch."""
        read = self.readout.probabilities if self.probabilities else self.readout.predictions
        found = read(output)
        if not (self.probabilities and self.readout.kind == CLASSES) and found.numel() == targets.numel():
            found = found.reshape(targets.shape)
        counted = self.readout.counted(targets)
        batch = {"targets": targets, "predicted": found}
        if counted is not None:
            batch["counted"] = counted
        if weights is not None and self.weighted:
            batch["weights"] = weights
        return batch

    def evaluate(self, losses: Losses, kept: Sequence[Any], error: bool) -> Evaluated:
        """Return the metric, and its standard error from leaving out groups of samples."""
        arrays = self._arrays(kept)
        sizes = arrays.pop("sizes", None)  # rows of each sample, where these are its labels that count
        owner = None if sizes is None else np.repeat(np.arange(len(sizes)), sizes)
        count = len(arrays["targets"] if sizes is None else sizes)

        def metric(samples: Any) -> float:
            # Samples are left out whole, since labels of one sample are alike.
            rows = samples if owner is None or isinstance(samples, slice) else np.isin(owner, samples)
            named = {"sample_weight": arrays["weights"][rows]} if "weights" in arrays else {}
            return self._number(self.function(arrays["targets"][rows], arrays["predicted"][rows], **named))

        value = metric(slice(None))
        if not error:
            return value, None
        labels = arrays["targets"] if self.readout.kind in (CLASSES, BINARY) and sizes is None else None
        return value, jackknife(metric, labels if labels is not None and labels.ndim == 1 else None, count)

    def resamples(self, count: int) -> int:
        """Return how many further calls of the metric a standard error takes for `count` samples."""
        return GROUPS if count >= FEWEST else 0

    def _arrays(self, kept: Sequence[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
        """Join the batches; where some labels are ignored, the others become one flat list."""
        if not all(bool(batch["counted"].all()) for batch in kept if "counted" in batch):
            kept = [_flat(batch) for batch in kept]
        return {key: torch.cat([part[key] for part in kept]).numpy() for key in kept[0] if key != "counted"}


@dataclass(frozen=True)
class OutputMetric(Metric):
    """A metric of what the model returns, in the units of the user's targets.

    Args:
        function: `(targets, outputs) -> float`. Tensors of all batches are joined; everything else becomes a list.
    """

    function: Callable[..., Any] = float

    def collect(self, output: Any, targets: Any, weights: Tensor | None) -> Any:
        """Return the targets and the outputs of a batch."""
        return map_tensors(lambda t: t.detach().cpu(), (targets, output))

    def evaluate(self, losses: Losses, kept: Sequence[Any], error: bool) -> Evaluated:
        """Return the metric; its standard error is not known, since outputs have no common form."""
        targets, outputs = (_joined(parts) for parts in zip(*kept, strict=True))
        return self._number(self.function(targets, outputs)), None


def _flat(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return only what counts, one row a position, and how many rows each sample has."""
    targets, predicted = batch["targets"], batch["predicted"]
    counted = batch["counted"]
    flat = {"targets": targets[counted], "predicted": predicted[counted]}
    if targets.dim() > 1:
        flat["sizes"] = counted.flatten(1).sum(1)
    if "weights" in batch:
        weights = batch["weights"].reshape(-1, *[1] * (targets.dim() - 1)).expand(targets.shape)
        flat["weights"] = weights[counted]
    return flat


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        same = all(part.shape[1:] == first.shape[1:] for part in parts) and first.dim() > 0
        return torch.cat(list(parts)) if same else list(parts)
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(_joined(column) for column in zip(*parts, strict=True))
    if isinstance(first, list):
        return [element for part in parts for element in part]
    return list(parts)


def perplexity(loss: float) -> float:
    """Return the perplexity of a mean loss."""
    return math.exp(min(loss, 80.0))
