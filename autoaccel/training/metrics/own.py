"""Losses of the user's own: a callable of what the model returns, or the loss that the model itself returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import main_tensor
from autoaccel.training.metrics.readout import BINARY, CLASSES, LABELS, OTHER, Readout, of_values

MODEL = "model"
"""The loss that the model itself returns."""
OF_CLASSIFIERS = (
    *("accuracy", "f1", "auc", "precision", "recall", "jaccard", "log_loss", "matthews", "kappa", "brier"),
    *("hamming", "zero_one", "ranking", "coverage"),
)
"""Parts of the names of metrics that only classes have."""


def call_loss(loss: Callable[..., Any], output: Any, targets: Any) -> Tensor:
    """Return what a callable makes of the model's output and the targets of a few samples.

    Raises:
        TaskError: If that is neither one number nor one for each sample.
    """
    name = getattr(loss, "__name__", type(loss).__name__)
    value = loss(output, targets)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise TaskError(f"the loss {name} must return a tensor of real numbers, it returned {described(value)}")
    count = _samples(targets, output)
    if value.dim() and count and len(value) != count:
        raise TaskError(
            f"the loss {name} must return one number, or one a sample, shape [{count}]; it returned"
            f" {described(value)}"
        )
    return value


def _samples(targets: Any, output: Any) -> int:
    for data in (targets, output):
        tensor = main_tensor(data)
        if tensor is not None and tensor.dim():
            return len(tensor)
    return 0


def guessed_readout(output: Tensor, targets: Tensor, every: Tensor, tokens: bool, metric: Any) -> Readout:
    """Return how predictions are probably read where the user's own loss does not say: by dtypes and shapes.

    Args:
        output: Outputs of a few samples.
        targets: Their targets.
        every: All targets, or a representative part.
        tokens: Whether classes are on the output's last dimension if both are possible.
        metric: What the user gave; a metric of classes says that targets of 0 and 1 are classes.
    """
    single = output.numel() == targets.numel()
    if (not targets.is_floating_point() and targets.dtype != torch.bool) or (single and _zero_one(every, metric)):
        if single:
            labels = targets.dim() == 2 and targets.shape[1] > 1
            return Readout(LABELS, targets.shape[1]) if labels else Readout(BINARY, 2)
        axes = [a for a in (-1, 1) if output.dim() > 1 and without_dimension(output, a) == targets.shape]
        if axes:
            axis = 1 if output.dim() == 2 or (len(axes) > 1 and not tokens) else axes[0]
            return Readout(CLASSES, output.shape[axis], axis)
        return Readout(OTHER)
    return of_values(targets) if single else Readout(OTHER)


def _zero_one(every: Tensor, metric: Any) -> bool:
    of_classes = isinstance(metric, str) and any(word in metric for word in OF_CLASSIFIERS)
    return of_classes and bool(((every == 0) | (every == 1)).all())


def without_dimension(output: Tensor, axis: int) -> torch.Size:
    """Return the shape of an output without one of its dimensions."""
    shape = list(output.shape)
    del shape[axis]
    return torch.Size(shape)


def own_loss(output: Any, targets: Any) -> Tensor:
    """Return the loss within what a model returns: its `loss`, or the only number; several named ones are summed.

    Raises:
        TaskError: If there is none.
    """
    value = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(value, Tensor):
        return value
    if isinstance(output, Tensor) and output.dim() == 0:
        return output
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    numbers = [part for part in parts if isinstance(part, Tensor) and part.dim() == 0 and part.is_floating_point()]
    if len(numbers) == 1 or (numbers and isinstance(output, Mapping) and len(numbers) == len(output)):
        return torch.stack(numbers).sum()
    raise TaskError(
        f"loss='model', but the model returned {described(output)} when it was given the targets; it must return a"
        " loss: one number, an object with .loss, or a tuple with one number in it"
    )


def described(data: Any) -> str:
    """Return what a value is, in a few words for a message."""
    if isinstance(data, Tensor):
        return f"a tensor of shape {tuple(data.shape)} and dtype {str(data.dtype).removeprefix('torch.')}"
    if isinstance(data, Mapping):
        return f"a {type(data).__name__} with the keys {', '.join(map(str, data))}"
    return "nothing" if data is None else f"a {type(data).__name__}"
