"""Less memory for more computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from autoaccel.techniques.base import Context, Technique, parameter, technique
from autoaccel.techniques.shared.modules import extend, repeated_blocks
from autoaccel.techniques.shared.weights import batch_norms


@technique(
    "activation_checkpointing",
    family="system",
    category="system-centric",
    requires=("blocks",),
    tags=("recomputes",),
    # A block that is left out at random would be left out of the second forward by another draw.
    conflicts=("recomputes", "skips_blocks", "skips_tokens"),
    order=56,
    paper="arXiv 1604.06174",
)
class ActivationCheckpointing(Technique):
    """Keep only what enters a block, and compute what is inside again for the backward pass.

    It slows each step down by up to a third and lets larger batches fit, which is all that it is good for.

    Args:
        share: Share of the blocks, from the first on, that are computed twice.
    """

    share: float = parameter(1.0, 0.25, 1.0)

    def setup(self, context: Context) -> None:
        """Extend the blocks."""
        blocks = repeated_blocks(context.model, next(context.training_batches(2)))
        for block in blocks[: round(self.share * len(blocks))]:
            extend(block, Recomputed)
        for module in context.model.modules():
            # Hugging Face models keep keys and values for generation, and would keep them twice.
            if getattr(getattr(module, "config", None), "use_cache", False):
                module.config.use_cache = False  # type: ignore[union-attr]


class Recomputed(nn.Module):
    """A block whose inside is computed a second time in the backward pass."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the block gives, with the same random numbers both times."""
        run = partial(super().forward, **kwargs)
        if not (self.training and torch.is_grad_enabled()):
            return run(*args)
        # A compiled graph accepts no such context and needs none: it writes its statistics at its end, once.
        plain = torch.compiler.is_compiling() or not batch_norms(self)
        contexts: dict[str, Any] = {} if plain else {"context_fn": partial(_contexts, self)}
        return checkpoint(run, *args, use_reentrant=False, **contexts)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For the first forward and for the second."""
    return nullcontext(), _still_statistics(block)


@contextmanager
def _still_statistics(block: nn.Module) -> Iterator[None]:
    """BatchNorm's running statistics take in each batch once, not once more when it is computed again."""
    kept = [(norm, name, buffer) for norm in batch_norms(block) for name, buffer in norm.named_buffers()]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)
