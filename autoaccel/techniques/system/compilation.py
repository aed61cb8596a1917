"""Compilation of the model: the same computation in fewer and larger kernels."""

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
    # All of these change the graph or its gradients during training, and each change triggers a compilation.
    conflicts=("freezes", "skips_blocks", "skips_tokens", "reshapes_weights", "fakes_precision"),
    order=90,
    paper="PyTorch 2: ASPLOS 2024, doi 10.1145/3620665.3640366",
)
class Compile(Technique):
    """Compile the model with torch.compile before the first step.

    Compilation is charged to the trial's budget but does not advance progress, provided that the first batches
    have the shape of full ones. A later batch of another shape triggers one more compilation, for all sizes. Only
    training is compiled: evaluations use other sizes and modes, and too few run to repay a compilation for each.

    Args:
        scope: `regional` compiles the repeated blocks of a deep model, which share one compilation; `whole`
            compiles the whole model, as does `regional` without repeated blocks.
    """

    scope: str = parameter("regional", options=("regional", "whole"))

    def setup(self, context: Context) -> None:
        """Compile in place, which keeps parameter names, and run once to trigger the compilation now."""
        model = context.model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Inductor's imports use deprecated torch features
            blocks = repeated_blocks(model, next(context.training_batches(2))) if self.scope == "regional" else []
            for module in blocks if len(blocks) > 1 else [model]:
                module.compile()
            with _without_a_trace(model, context.device):
                _run_once(context)

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Evaluate without compiled code."""
        with as_written(context.model):
            yield


def _run_once(context: Context) -> None:
    """Run a forward and backward pass on a micro-batch, or a batch if there are no micro-batches."""
    size = min(context.batch_size, context.micro_batch or context.batch_size)
    batch = next(context.one_epoch(size))
    inputs = map_images(lambda x: x.contiguous(memory_format=_layout(context.model)), batch.inputs)
    context.per_sample(context.forward(inputs), batch.targets).mean().backward()


def _layout(model: nn.Module) -> torch.memory_format:
    """Return the memory format of the convolution kernels, which images have in training too."""
    kernels = [p for p in model.parameters() if p.dim() == 4 and not p.is_contiguous()]
    return torch.channels_last if kernels else torch.contiguous_format


@contextmanager
def _without_a_trace(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Switch to train mode; on exit, clear gradients and restore the mode, the buffers and the random state."""
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
