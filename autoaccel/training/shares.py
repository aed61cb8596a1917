"""How processes share a batch, and which trainings they cannot share without changing what is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.nn.modules.batchnorm import _BatchNorm

from autoaccel.errors import UsageError
from autoaccel.training.context import TrainingContext
from autoaccel.training.ranks import Ranks

NORMED = 32
"""Fewest samples of a process that BatchNorm takes its statistics of, where several share a batch."""


def least_share(context: TrainingContext) -> int:
    """Return the fewest samples that may be one process's share of a batch, before techniques drop some of them."""
    if not any(isinstance(module, _BatchNorm) for module in context.model.modules()):
        return 1
    return math.ceil(NORMED / min([technique.keeps() for technique in context.techniques], default=1.0))


def share_of(count: int, rank: int, world: int, least: int) -> slice:
    """Return which samples of a batch a process trains on.

    Where shares would be too small, each process trains on the whole batch: the mean of their gradients is that of
    the batch too.

    Args:
        count: Samples of the batch.
        rank: The process.
        world: How many there are.
        least: Fewest samples of a share.
    """
    return slice(None) if count < least * world else slice(rank, None, world)


def check_shares(context: TrainingContext) -> None:
    """Refuse a training whose batches cannot be shared by as many processes without changing what is trained.

    Raises:
        UsageError: If the loss is of whole batches, or batches are too small for each process to have a share.
    """
    world = Ranks().world
    if world == 1:
        return
    if not context.data.objective.per_sample:
        raise UsageError(f"the loss is one number a batch, so {world} processes cannot share a batch")
    size = min(context.batch_size, len(context.data.train) or context.batch_size)
    # Batches of the user's own are known when the first pass begins.
    if context.data.batches is None and size < least_share(context) * world:
        raise _too_small(f"batches of {size}", context, world)


def check_own_batches(sizes: Sequence[int], context: TrainingContext, world: int) -> None:
    """Refuse batches of the user's own of which each process would train on most as a whole.

    Raises:
        UsageError: If there are several processes, and most batches are too small to be shared.
    """
    least = least_share(context)
    whole = sum(size for size in sizes if size < least * world)
    if world > 1 and 2 * whole > sum(sizes):
        raise _too_small(f"most batches of your {type(context.data.batches).__name__}", context, world)


def _too_small(what: str, context: TrainingContext, world: int) -> UsageError:
    least = least_share(context)
    why = f", as BatchNorm needs {NORMED} samples each" if least > 1 else ""
    kept = f", and a technique keeps {NORMED / least:.0%} of them" if least > NORMED else ""
    return UsageError(f"{what} are too small for {world} processes{why}{kept}")
