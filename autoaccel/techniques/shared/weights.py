"""Evaluate weights other than those in training, with their own BatchNorm statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from autoaccel.techniques.base import Context
from autoaccel.techniques.shared.frozen import live_norms, trained
from autoaccel.techniques.shared.modules import as_written, evaluating
from autoaccel.techniques.shared.tensors import tensors_in


@contextmanager
def in_place_of(context: Context, average: Sequence[Tensor], recalibrate: int) -> Iterator[None]:
    """Replace the model's weights, and restore them on exit.

    Args:
        context: The training whose model is changed.
        average: The weights to use: one tensor for each of the model's trained parameters, in order.
        recalibrate: Number of training samples for measuring BatchNorm statistics.
    """
    live = [p.detach() for p in trained(context.model)]
    saved = [p.clone() for p in live]
    torch._foreach_copy_(live, list(average))
    try:
        with recalibrated(context, recalibrate):
            yield
    finally:
        torch._foreach_copy_(live, saved)


@contextmanager
def recalibrated(context: Context, samples: int) -> Iterator[None]:
    """Measure BatchNorm statistics for the current weights, and restore the old ones on exit."""
    norms = live_norms(context.model)
    before = [{name: b.clone() for name, b in norm.named_buffers()} for norm in norms]
    try:
        measure_norms(context, samples)
        yield
    finally:
        for norm, statistics in zip(norms, before, strict=True):
            for name, buffer in norm.named_buffers():
                buffer.data.copy_(statistics[name])


def measured_on(context: Context, samples: int) -> int:
    """Return how many of `samples` training samples `measure_norms` uses: none without live BatchNorm."""
    return samples if live_norms(context.model) else 0


def measure_norms(context: Context, samples: int) -> None:
    """Measure BatchNorm's running statistics for the current weights on `samples` training samples."""
    norms = live_norms(context.model)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluating(context.model), as_written(context.model):
        for norm in norms:
            norm.train()
        try:
            with torch.no_grad():
                seen = 0
                for inputs in context.training_batches(samples):
                    count = len(tensors_in(inputs)[0])
                    seen += count
                    # This yields the mean over all samples. torch's own cumulative mean (momentum None) reads a
                    # counter, which synchronizes the device.
                    for norm in norms:
                        norm.momentum = count / seen
                    context.forward(inputs)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
