"""The task's loss per sample: named, given as a callable, or inferred from the targets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autoaccel.errors import TaskError, suggestion
from autoaccel.techniques.shared.tensors import mean_of_counted

SCALABLE = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
"""Losses that are computed on standardized targets."""


@dataclass(frozen=True)
class Objective:
    """The loss of each sample.

    Args:
        function: `(output, targets) -> Tensor` without reduction.
        name: Name shown in messages.
        tokens: Whether classes are on the last dimension, as in the logits of a language model.
        class_weights: Weight of each class, shape [classes], or None.
        mean: Mean of the training targets if they are standardized, else 0.
        std: Standard deviation of the training targets if they are standardized, else 1.
    """

    function: Callable[[Any, Tensor], Tensor]
    name: str
    tokens: bool = False
    class_weights: Tensor | None = None
    mean: Tensor | float = 0.0
    std: Tensor | float = 1.0

    def __call__(self, output: Any, targets: Tensor) -> Tensor:
        """Return the loss of each sample, shape [n], on the scaled targets that the model is trained on.

        Raises:
            TaskError: If the loss does not return one value per sample.
        """
        each = self.function(output, self.scaled(targets))
        if each.dim() == 0 or each.shape[0] != targets.shape[0]:
            got = tuple(each.shape)
            raise TaskError(
                f"the loss {self.name} must return one value a sample, shape [{len(targets)}], got {got}"
            )
        if each.dim() > 1:
            each = mean_of_counted(each, targets)
        if self.class_weights is not None:
            each = each * self.class_weights.to(each.device)[targets.clamp(min=0)]  # ignored: loss 0
        return each

    def scaled(self, targets: Tensor) -> Tensor:
        """Return the targets as the model is trained on them, standardized if the loss allows it."""
        if isinstance(self.mean, float):
            return targets
        return (targets - self.mean.to(targets.device)) / torch.as_tensor(self.std).to(targets.device)

    def original(self, output: Any) -> Any:
        """Return the model's output in the units of the user's targets."""
        if isinstance(self.mean, float):
            return output
        return output * torch.as_tensor(self.std).to(output.device) + self.mean.to(output.device)

    def evaluate(self, output: Any, targets: Tensor) -> Tensor:
        """Return the loss of each sample in the units of the user's targets, shape [n]."""
        if isinstance(self.mean, float):
            return self(output, targets)
        return self.function(self.original(output), targets).reshape(len(targets), -1).mean(1)


def cross_entropy(output: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy with classes on dimension 1, as in torch."""
    return F.cross_entropy(output, targets, reduction="none")


def token_cross_entropy(output: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy of each token, classes on the last dimension; output [n, T, V], targets [n, T]."""
    flat = F.cross_entropy(output.flatten(0, -2), targets.flatten(), reduction="none")
    return flat.view(targets.shape)


def binary_cross_entropy(output: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross entropy of a single logit per target."""
    logits = output.reshape(targets.shape)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")


def squared_error(output: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error; an output of shape [n, 1] is compared with targets of shape [n]."""
    return F.mse_loss(output.reshape(targets.shape), targets, reduction="none")


def make_objective(
    loss: str | Callable[..., Any] | None,
    output: Any,
    targets: Tensor,
    tokens: bool,
    class_weights: Tensor | None,
) -> Objective:
    """Return the loss to use.

    Args:
        loss: What the user gave: a name in `torch.nn.functional`, a callable, or None.
        output: The model's output for a few samples; only its shape matters.
        targets: All training targets, or a representative part.
        tokens: Whether classes are on the output's last dimension.
        class_weights: Weight of each class, or None.

    Raises:
        TaskError: If the name is unknown.
    """
    if callable(loss):
        return Objective(loss, getattr(loss, "__name__", "given"), tokens, class_weights)
    name = loss or infer_loss(output, targets)
    if name == "cross_entropy":
        function = token_cross_entropy if tokens and targets.dim() > 1 else cross_entropy
        return Objective(function, name, tokens, class_weights)
    if name == "binary_cross_entropy_with_logits":
        return Objective(binary_cross_entropy, name, tokens, class_weights)
    mean, std = _standardization(targets) if name in SCALABLE else (0.0, 1.0)
    if name == "mse_loss":
        return Objective(squared_error, name, mean=mean, std=std)
    return Objective(_named(name), name, tokens, class_weights, mean, std)


def infer_loss(output: Any, targets: Tensor) -> str:
    """Return the name of a loss that suits the targets.

    Real targets get mean squared error, integers cross entropy, or its binary form if the output is a single logit.
    """
    if targets.is_floating_point():
        return "mse_loss"
    single = output.dim() == 1 or (output.dim() == targets.dim() + 1 and output.shape[-1] == 1)
    return "binary_cross_entropy_with_logits" if single else "cross_entropy"


def _named(name: str) -> Callable[[Any, Tensor], Tensor]:
    function = getattr(F, name, None)
    accepted = [n for n in dir(F) if "loss" in n or "entropy" in n]
    if function is None or "reduction" not in inspect.signature(function).parameters:
        raise TaskError(f"loss {name!r} is no loss in torch.nn.functional{suggestion(name, accepted)}")

    def unreduced(output: Any, targets: Tensor) -> Tensor:
        same = targets.is_floating_point() and output.numel() == targets.numel()
        each: Tensor = function(output.reshape(targets.shape) if same else output, targets, reduction="none")
        return each

    return unreduced


def _standardization(targets: Tensor) -> tuple[Tensor, Tensor]:
    values = targets.float()
    return values.mean(0), values.std(0).clamp(min=1e-12)
