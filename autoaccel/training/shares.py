"""How processes share a batch, and which trainings they cannot share without changing what is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoaccel.errors import UsageError
from autoaccel.training.ranks import Ranks

if TYPE_CHECKING:  # scripts without techniques need neither
    from autoaccel.techniques.base import Technique
    from autoaccel.training.context import TrainingContext

NORMED = 32
"""Fewest samples of a process that BatchNorm takes its statistics of, where several share a batch."""


def least_share(model: nn.Module, techniques: Sequence[Technique] = ()) -> int:
    """Return the fewest samples that may be one process's share of a batch, before techniques drop some of them."""
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return 1
    return math.ceil(NORMED / min([technique.keeps() for technique in techniques], default=1.0))


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
    """Refuse a training whose batches cannot be shared; see `check_batches`."""
    size = min(context.batch_size, len(context.data.train) or context.batch_size)
    # Batches of the user's own are known when the first pass begins.
    known = math.inf if context.data.batches is not None else size
    check_batches(context.data.objective.per_sample, known, least_share(context.model, context.techniques))


def check_batches(per_sample: bool, size: float, least: int) -> None:
    """Refuse batches that the processes cannot share without changing what is trained.

    Args:
        per_sample: Whether the loss is one of each sample, not one number a batch.
        size: Samples of a batch; infinity if that is not known.
        least: Fewest samples of a share.

    Raises:
        UsageError: If the loss is of whole batches, or they are too small for each process to have a share.
    """
    world = Ranks().world
    if world > 1 and not per_sample:
        raise UsageError(f"the loss is one number a batch, so {world} processes cannot share a batch")
    if world > 1 and size < least * world:
        raise _too_small(f"batches of {size}", least, world)


def check_own_batches(sizes: Sequence[int], sampler: str, least: int) -> None:
    """Refuse batches of the user's own of which each process would train on most as a whole.

    Args:
        sizes: Samples of each batch of a pass.
        sampler: Name of what draws them.
        least: Fewest samples of a share.

    Raises:
        UsageError: If there are several processes, and most batches are too small to be shared.
    """
    world = Ranks().world
    whole = sum(size for size in sizes if size < least * world)
    if world > 1 and 2 * whole > sum(sizes):
        raise _too_small(f"most batches of your {sampler}", least, world)


def _too_small(what: str, least: int, world: int) -> UsageError:
    why = f", as BatchNorm needs {NORMED} samples each" if least > 1 else ""
    kept = f", and a technique keeps about {NORMED / least:.0%} of them" if least > NORMED else ""
    return UsageError(f"{what} are too small for {world} processes{why}{kept}")
