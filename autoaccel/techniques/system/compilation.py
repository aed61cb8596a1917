"""Compiling the model: the same numbers from fewer and larger kernels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from autoaccel.techniques.base import Context, Technique, parameter, technique
from autoaccel.techniques.shared.modules import as_written, repeated_blocks
from autoaccel.techniques.shared.tensors import map_images, random_numbers_kept


@technique(
    "compile",
    family="system",
    category="basic modules",
    requires=("compiler",),
    tags=("compiles",),
    # All of these change the graph, or which gradients it computes, in mid-training: each change is a compilation.
    conflicts=("freezes", "skips_blocks", "skips_tokens", "reshapes_weights", "fakes_precision"),
    order=90,
    paper="PyTorch 2: ASPLOS 2024, doi 10.1145/3620665.3640366",
)
class Compile(Technique):
    """Compile the model with torch.compile before its first step.

    The compilation is paid from the trial's budget but takes no progress, as long as the first batches have the
    shape of full ones; another shape later on is compiled once more, for all sizes. Only training is compiled:
    evaluations come in other sizes and modes, each a compilation of its own that few evaluations would earn back.

    Args:
        scope: The repeated blocks of a deep model, which share one compilation, or the whole model; a model
            without repeated blocks is compiled whole.
    """

    scope: str = parameter("regional", options=("regional", "whole"))

    def setup(self, context: Context) -> None:
        """Compile in place, which keeps the names of parameters, and run once so that it happens now."""
        model = context.model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Inductor's own imports use what torch has deprecated
            blocks = repeated_blocks(model, next(context.training_batches(2))) if self.scope == "regional" else []
            for module in blocks if len(blocks) > 1 else [model]:
                module.compile()
            with _without_a_trace(model, context.device):
                _run_once(context)

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Run as written."""
        with as_written(context.model):
            yield


def _run_once(context: Context) -> None:
    """A forward and backward on as many samples as are computed at once."""
    size = min(context.batch_size, context.micro_batch or context.batch_size)
    batch = next(context.one_epoch(size))
    inputs = map_images(lambda x: x.contiguous(memory_format=_layout(context.model)), batch.inputs)
    context.per_sample(context.forward(inputs), batch.targets).mean().backward()


def _layout(model: nn.Module) -> torch.memory_format:
    """How images are laid out in training: as the kernels are."""
    kernels = [p for p in model.parameters() if p.dim() == 4 and not p.is_contiguous()]
    return torch.channels_last if kernels else torch.contiguous_format


@contextmanager
def _without_a_trace(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Train mode for a while; gradients, BatchNorm statistics and random numbers are as before at the end."""
    training = model.training
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train()
    try:
        with random_numbers_kept(device):
            yield
    finally:
        model.train(training)
        model.zero_grad(set_to_none=True)
        for buffer, before in buffers:
            buffer.data.copy_(before)
