"""Techniques that trade computation for memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from autoaccel.techniques.base import Context, Technique, parameter, technique
from autoaccel.techniques.shared.frozen import batch_norms
from autoaccel.techniques.shared.modules import extend, repeated_blocks


@technique(
    "activation_checkpointing",
    family="system",
    category="system-centric",
    requires=("blocks",),
    tags=("recomputes",),
    # The second forward would draw again which blocks or tokens to skip.
    conflicts=("recomputes", "skips_blocks", "skips_tokens"),
    order=56,
    paper="arXiv 1604.06174",
)
class ActivationCheckpointing(Technique):
    """Store only the inputs of blocks, and recompute their activations in the backward pass.

    This slows each step by up to a third; its only benefit is that larger batches fit.

    Args:
        share: Share of the blocks, counted from the first, that are recomputed.
    """

    share: float = parameter(1.0, 0.25, 1.0)

    def setup(self, context: Context) -> None:
        """Make the chosen blocks recompute their activations."""
        blocks = repeated_blocks(context.model, next(context.training_batches(2)))
        for block in blocks[: round(self.share * len(blocks))]:
            extend(block, Recomputed)
        for module in context.model.modules():
            # Hugging Face models cache keys and values for generation, and would do so twice.
            if getattr(getattr(module, "config", None), "use_cache", False):
                module.config.use_cache = False  # type: ignore[union-attr]


class Recomputed(nn.Module):
    """Behavior of a block that recomputes its activations in the backward pass."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the block's output; both forwards use the same random numbers."""
        run = partial(super().forward, **kwargs)
        if not (self.training and torch.is_grad_enabled()):
            return run(*args)
        # A compiled graph accepts no context_fn and needs none: it writes BatchNorm statistics once, at its end.
        plain = torch.compiler.is_compiling() or not batch_norms(self)
        contexts: dict[str, Any] = {} if plain else {"context_fn": partial(_contexts, self)}
        return checkpoint(run, *args, use_reentrant=False, **contexts)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first forward and of its recomputation."""
    return nullcontext(), _still_statistics(block)


@contextmanager
def _still_statistics(block: nn.Module) -> Iterator[None]:
    """Protect BatchNorm's running statistics, so that a recomputed batch does not update them twice."""
    kept = [(norm, name, buffer) for norm in batch_norms(block) for name, buffer in norm.named_buffers()]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)
