"""The loss that a model computes from labels itself, such as those of transformers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import IGNORED, main_tensor
from autoaccel.training.data.forward import example_output, fed_name, with_dtypes
from autoaccel.training.data.reading import LAST, NONE, Reader
from autoaccel.training.metrics.own import MODEL, own_loss

SAME = 1e-5
"""Largest relative difference between the model's loss and ours for them to be the same, beside roundings."""
SAME_SLOPE = 1e-3
"""Largest relative difference between their gradients, beside what rounding to the dtype of the logits makes."""
ROUNDINGS = 4
"""How many such roundings may add up."""


@dataclass(frozen=True)
class OwnLoss:
    """A model's own loss.

    Args:
        name: The loss of `torch.nn.functional` that it was found to be, or `model`.
        reader: How to read a batch for it.
        output: The model's output for the batch.
    """

    name: str
    reader: Reader
    output: Any


def find_own_loss(model: nn.Module, reader: Reader, batch: Any) -> OwnLoss | None:
    """Return the model's own loss if it returns one when it is given the labels, else None.

    If the loss equals one of torch on the model's logits, also with other labels ignored, that one is used: it is
    known for each sample, and weighted by what counts over micro-batches and processes.

    Args:
        model: A model built by the task's factory.
        reader: How to read a batch without feeding the labels.
        batch: A batch of a few samples.
    """
    if reader.targets == NONE or (reader.targets == LAST and not reader.fed):
        return None
    fed = reader if reader.fed else replace(reader, fed=fed_name(model, reader.targets))
    if not fed.fed:
        return None
    try:
        fed, output = with_dtypes(model, fed, batch)
    except TypeError:
        if reader.fed or fed.fed in inspect.signature(model.forward).parameters:
            raise
        return None  # what takes any name does not take this one after all
    labels = fed.divide(batch)[1]
    if not isinstance(getattr(output, "loss", None), Tensor) and not reader.fed:
        return None
    with _explained(model):
        loss = own_loss(output, labels)
    if loss.dim() or not isinstance(labels, Tensor):
        return OwnLoss(MODEL, fed, output)
    for name, shift in _candidates(main_tensor(output), labels):
        if all(_same(name, shift, *_run(model, fed, each)) for each in (batch, _partly_ignored(fed, batch))):
            found = replace(fed, shift=shift)
            return OwnLoss(name, _unfed(model, found, batch, output), output)
    return OwnLoss(MODEL, fed, output)


@contextmanager
def _explained(model: nn.Module) -> Iterator[None]:
    """Say what the forward takes if there is no loss in what it returns for the targets too."""
    try:
        yield
    except TaskError as error:
        takes = ", ".join(inspect.signature(model.forward).parameters)
        raise TaskError(
            f"the model's forward takes {takes}, to which the targets were given as the last; {error}"
        ) from None


def _run(model: nn.Module, reader: Reader, batch: Any) -> tuple[Any, Any]:
    labels = reader.divide(batch)[1]
    return example_output(model, reader(batch)[0], differentiable=True), labels


def _candidates(logits: Tensor | None, labels: Tensor) -> Iterator[tuple[str, bool]]:
    """Yield the losses of torch that fit the shapes, each with whether labels are those of the next position."""
    if logits is None:
        return
    if labels.is_floating_point():
        if logits.numel() == labels.numel():
            yield "mse_loss", False
            yield "binary_cross_entropy_with_logits", False
    elif logits.dim() == labels.dim() + 1:
        if labels.dim() == 2 and logits.shape[:-1] == labels.shape:
            yield "cross_entropy", True
        yield "cross_entropy", False


def _same(name: str, shift: bool, output: Any, labels: Tensor) -> bool:
    """Return whether the model's loss is one of torch on its logits, in value and in gradient.

    The values of an untrained model do not tell: all its classes are as likely, and smoothed labels cost the same.
    """
    logits = every = main_tensor(output)
    if shift:
        logits, labels = logits[:, :-1], labels[:, 1:]
    labels = labels.to(logits.device)
    if name == "cross_entropy":
        ours = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten().long(), ignore_index=IGNORED)
    else:
        ours = getattr(F, name)(logits.reshape(labels.shape).float(), labels.float())
    theirs = own_loss(output, labels)
    far = (SAME + ROUNDINGS * torch.finfo(theirs.dtype).eps) * theirs.abs().clamp(min=SAME)
    if not every.requires_grad or bool((ours - theirs).abs() > far):
        return False
    slope, expected = (torch.autograd.grad(loss, every, allow_unused=True)[0] for loss in (ours, theirs))
    if slope is None or expected is None:
        return False
    tolerance = SAME_SLOPE + ROUNDINGS * torch.finfo(every.dtype).eps
    return bool((slope - expected).abs().max() <= tolerance * expected.abs().max())


def _partly_ignored(reader: Reader, batch: Any) -> Any:
    """Return the batch with the first half of the first sample's labels ignored, where each position has one.

    A mean over samples then differs from one over positions.
    """
    labels = reader.divide(batch)[1]
    if labels.dim() < 2 or labels.is_floating_point() or not isinstance(batch, Mapping):
        return batch
    changed = labels.clone()
    changed[0, : changed.shape[1] // 2] = IGNORED
    return {**batch, reader.targets: changed}


def _unfed(model: nn.Module, reader: Reader, batch: Any, output: Any) -> Reader:
    """Return the reader without feeding the labels if the model's predictions do not depend on them.

    Otherwise the model would compute the loss a second time, for nothing.
    """
    without = replace(reader, fed=NONE)
    try:
        logits = main_tensor(example_output(model, without(batch)[0]))
    except Exception:  # any error of the model's means that it needs them, as a decoder does
        return reader
    expected = main_tensor(output)
    same = logits is not None and logits.shape == expected.shape and torch.allclose(logits, expected)
    return without if same else reader
