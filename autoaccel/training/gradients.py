"""The gradients of a batch: over its micro-batches, and over the processes that share it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from autoaccel.techniques.base import Batch
from autoaccel.training.ranks import Ranks

if TYPE_CHECKING:
    from autoaccel.training.context import TrainingContext


def shared(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a model so that all processes begin with the first one's weights, and average the gradients.

    Not by Accelerate, which would leave its autocast in the model, and keep each wrapper. Each process keeps its
    buffers until an evaluation, and not all may use a parameter.
    """
    ids = [device] if device.type == "cuda" else None
    with warnings.catch_warnings():
        # What is to replace `broadcast_buffers` sends them at the beginning all the same.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False, find_unused_parameters=True)


def accumulate(context: TrainingContext) -> Iterator[tuple[Batch, Tensor]]:
    """Add the gradients of the current batch's micro-batches; yield each with its task losses.

    Processes may cut their shares into different numbers of these, and average gradients while they compute those
    of the last one. Without `context.overlap` they do not, and `average` follows.
    """
    accelerator, parts = context.accelerator, context.current
    for number, (batch, total) in enumerate(parts, 1):
        waits = accelerator and context.parallel and (number < len(parts) or not context.overlap)
        with accelerator.no_sync(context.network) if accelerator and waits else nullcontext():
            losses = context.backward(batch, total)
        yield batch, losses


def average(context: TrainingContext) -> bool:
    """Average gradients that were not averaged meanwhile.

    Returns:
        Whether each trained parameter has a gradient on each process.
    """
    return not context.parallel or context.overlap or Ranks().average_gradients([*context.model.parameters()])
