"""The average of a model over the ranks that train it, each of which has trained alone for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import PartialState
from torch import Tensor, nn

from autoaccel.techniques.shared.frozen import trained
from autoaccel.techniques.shared.tensors import summed_over_ranks


def average_over_ranks(model: nn.Module) -> None:
    """Average the weights of a model and its statistics, such as BatchNorm's, over all ranks, which must call this.

    What the user froze stays as it is, and so do whole numbers, such as counts of batches, and sparse buffers.
    """
    weights, statistics = _averaged(model)
    _average(weights, torch.float32)
    # Where all ranks have the same, such as a table of positions, the mean must be that to the last bit.
    _average(statistics, torch.float64)


@contextmanager
def averaged_over_ranks(model: nn.Module) -> Iterator[None]:
    """Put the average of a model over all ranks in place, and this rank's own tensors on exit."""
    weights, statistics = _averaged(model)
    own = [*weights, *statistics]
    saved = [t.clone() for t in own]
    average_over_ranks(model)
    try:
        yield
    finally:
        for live, before in zip(own, saved, strict=True):
            live.copy_(before)


def _averaged(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights and the statistics, complex ones as pairs of real numbers."""
    inexact = [b for b in model.buffers() if b.is_floating_point() or b.is_complex()]
    statistics = [b for b in inexact if b.layout is torch.strided]
    return _as_real(trained(model)), _as_real(statistics)


def _as_real(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [torch.view_as_real(t.detach()) if t.is_complex() else t.detach() for t in tensors]


def _average(tensors: Sequence[Tensor], least: torch.dtype) -> None:
    """Average tensors in place, all of a dtype in one message, since each message takes its time on a slow link.

    torch's own `average_parameters` converts all to one dtype, and makes each parameter a view of the message.

    Args:
        tensors: Real, dense and on one device.
        least: The dtype in which numbers travel that have not more digits.
    """
    alike = defaultdict(list)
    for tensor in tensors:
        alike[tensor.dtype if tensor.itemsize > least.itemsize else least].append(tensor)
    for dtype, group in alike.items():
        whole = summed_over_ranks(torch.cat([t.reshape(-1).to(dtype) for t in group]))
        whole /= PartialState().num_processes
        for tensor, mean in zip(group, whole.split([t.numel() for t in group]), strict=True):
            tensor.copy_(mean.view_as(tensor))
