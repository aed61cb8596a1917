"""The task's loss of each sample, and how much each sample counts in a mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import IGNORED, main_tensor

WITH_UNITS = ("smooth_l1_loss", "huber_loss")
"""Losses with a threshold, which is in the units of the user's targets."""


@dataclass(frozen=True)
class Scaling:
    """Standardization of real targets: the model is trained on `(targets - mean) / std`.

    Args:
        mean: Mean of the training targets, shape [] or that of the last dimensions of the targets, float64.
        std: Standard deviation, in the same shape; 1 where the targets are constant.
        over: Dimensions of the targets that they were averaged over.
        keep: Whether the other dimensions keep their places.
    """

    mean: Tensor
    std: Tensor
    over: tuple[int, ...] = (0,)
    keep: bool = False

    def scaled(self, targets: Tensor, dtype: torch.dtype) -> Tensor:
        """Return targets as the model is trained on them, centered in their own precision and then rounded."""
        return ((targets.double() - self.mean.to(targets.device)) / self.std.to(targets.device)).to(dtype)

    def inverse(self) -> Scaling:
        """Return the scaling that undoes this one."""
        return Scaling(-self.mean / self.std, 1 / self.std)

    def original(self, output: Tensor) -> Tensor:
        """Return an output in the units of the targets, float64."""
        return output.double() * self.std.to(output.device) + self.mean.to(output.device)


@dataclass(frozen=True)
class Objective:
    """The loss.

    Args:
        function: `(output, targets) -> Tensor` without reduction, shape [n, ...], or one number a batch.
        name: Name in `torch.nn.functional`, or that of the user's callable.
        per_sample: Whether the function returns a value for each sample.
        of_classes: Whether targets are class numbers, some of which may be ignored.
        raw: Whether the function gets what the model returns, unchanged, instead of its one tensor or `logits`.
        weight: Weight of each class, shape [classes], which the function applies already; None for none.
        ignored: The label that does not count.
        class_axis: Dimension of the output that holds the classes.
        scaling: How targets are standardized, or None.
        alike: Whether it is known that all samples that are trained on count alike, so that no step has to look.
    """

    function: Callable[[Any, Any], Tensor]
    name: str
    per_sample: bool = True
    of_classes: bool = False
    raw: bool = False
    weight: Tensor | None = None
    ignored: int = IGNORED
    class_axis: int = 1
    scaling: Scaling | None = None
    alike: bool = False

    def view(self, output: Any) -> Any:
        """Return what the loss and the techniques get of a model's output.

        Raises:
            TaskError: If a tensor is needed and the output neither is one nor has `logits`.
        """
        if self.raw:
            return output
        tensor = main_tensor(output)
        if tensor is None:
            got = type(output).__name__
            raise TaskError(
                f"the model must return a tensor, or an object with .logits, for the loss {self.name}; it returned"
                f" a {got} (a loss of your own gets it unchanged: loss=lambda output, target: ...)"
            )
        return tensor

    def __call__(self, output: Any, targets: Any) -> Tensor:
        """Return the loss of each sample, shape [n], on the targets that the model is trained on, or one number.

        It is the mean over what counts in the sample, and 0 if nothing does.
        """
        if self.scaling is None:
            return self._of_samples(self.function(output, targets), targets)
        if self.name in WITH_UNITS:
            return self._of_samples(self._in_units(output, targets, self.scaling), targets).to(output.dtype)
        targets = self.scaling.scaled(targets, output.dtype)
        return self._of_samples(self.function(output, targets), targets)

    def _in_units(self, output: Tensor, targets: Tensor, scaling: Scaling) -> Tensor:
        """Return the loss in the units of the targets, relative to that of an error of one standard deviation."""
        mean, std = scaling.mean.to(output.device), scaling.std.to(output.device)
        losses = self.function(output.double() * std, targets.double() - mean)
        return losses / self.function(std, torch.zeros_like(std))

    def evaluate(self, output: Any, targets: Any) -> Tensor:
        """Return the loss of each sample in the units of the user's targets, shape [n], or one number."""
        return self._of_samples(self.function(self.original(output), targets), targets)

    def original(self, output: Any) -> Any:
        """Return the model's output in the units of the user's targets."""
        return output if self.scaling is None else self.scaling.original(output)

    def counts(self, targets: Any) -> Tensor | None:
        """Return how much each sample counts in a mean, shape [n]; None if all count alike.

        A sample counts as often as it has labels that are not ignored, each with the weight of its class, as in
        the losses of torch.
        """
        share = self._shares(targets)
        return None if share is None else share.flatten(1).sum(1) if share.dim() > 1 else share

    def of_samples(self, each: Tensor, targets: Any) -> Tensor:
        """Return the mean over the labels of each sample, shape [n], weighted as in the loss; 0 if none counts.

        Args:
            each: A value of each label, or of each sample.
            targets: The labels.
        """
        shares = self._shares(targets)
        weighted = shares is not None and shares.shape == each.shape
        return self._of_samples(each * shares if weighted and shares is not None else each, targets)

    def _shares(self, targets: Any) -> Tensor | None:
        """Return how much each label counts, shape of the targets; None if all count alike."""
        if self.alike or not self.of_classes or not self.per_sample or targets.is_floating_point():
            return None
        shares = label_shares(targets, self.ignored, self.weight)
        return shares.float() if self.weight is None else shares

    def _of_samples(self, losses: Tensor, targets: Any) -> Tensor:
        if not self.per_sample:
            return losses if losses.dim() == 0 else losses.mean()
        shares = self._shares(targets)
        if shares is None or shares.shape != losses.shape:
            return losses.flatten(1).mean(1) if losses.dim() > 1 else losses
        if losses.dim() > 1:
            losses, shares = losses.flatten(1).sum(1), shares.flatten(1).sum(1)
        return torch.where(shares > 0, losses / shares.clamp(min=torch.finfo(losses.dtype).tiny), 0.0)


def label_shares(targets: Tensor, ignored: int, weight: Tensor | None) -> Tensor:
    """Return how much each label counts, shape of the targets: its class's weight, or whether it is not ignored."""
    counted: Tensor = targets != ignored
    if weight is None:
        return counted
    shares: Tensor = counted * weight.to(targets.device)[targets.where(counted, 0)]
    return shares


def weighted_mean(losses: Tensor, counts: Tensor | None) -> float:
    """Return the mean of losses, shape [n], weighted by `counts`, shape [n]; NaN if nothing counts."""
    if counts is None:
        return float(losses.double().mean())
    return float((losses.double() * counts).sum() / counts.double().sum())
