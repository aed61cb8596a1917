"""Fewer tokens for the middle of a transformer."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.modules import evaluating, extend, first_calls, token_blocks
from autoaccel.techniques.shared.tensors import call

MULTIPLE = 8
"""What numbers of kept tokens are multiples of: kernels want it, and every number is counted once.

Short sequences have smaller multiples, else there would be nothing to choose."""


class ShortenedBlock(nn.Module):
    """A block that random tokens bypass in training."""

    token_share = 1.0

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        """The block's output for some tokens in their order, the input for the others, shape [n, t, d].

        The first token always takes part: it may stand for the whole, and causal attention rests on it.
        """
        kept = max(1, round(self.token_share * x.shape[1]))
        if not self.training or kept >= x.shape[1]:
            output: Tensor = super().forward(x, *others, **named)
            return output
        drawn = torch.randperm(x.shape[1] - 1, device=x.device)[: kept - 1] + 1
        indices = torch.cat([drawn.new_zeros(1), drawn.sort().values])
        output = super().forward(x.index_select(1, indices), *others, **named)
        return x.index_copy(1, indices, output.to(x.dtype))


@technique(
    "token_dropout",
    family="data",
    category="curriculum learning",
    requires=("token_blocks",),
    tags=("skips_tokens",),
    # Random numbers of tokens are random shapes.
    conflicts=("compiles",),
    order=54,
    paper="arXiv 2211.11586; arXiv 2208.07220",
)
class TokenDropout(Technique):
    """Let random tokens bypass the inner blocks of a transformer, and none towards the end.

    Args:
        drop: Share of the tokens that bypass each inner block.
        until: Progress from which every token goes through all blocks.
    """

    drop: Number = parameter(0.3, 0.0, 0.6)
    until: float = parameter(0.8, 0.7, 0.95)
    blocks: list[str] = field(init=False, default_factory=list, repr=False)
    tokens: int = field(init=False, default=0, repr=False)
    kept: int = field(init=False, default=0, repr=False)

    def setup(self, context: Context) -> None:
        """Change the inner blocks: all but the first and the last, or but the first of two."""
        model, inputs = context.model, next(context.training_batches(2))
        found = token_blocks(model, inputs)
        with torch.no_grad(), evaluating(model):
            calls = first_calls(found, lambda: call(model, inputs))
        inner = found[1:-1] or found[1:]
        names = {module: name for name, module in model.named_modules()}
        self.blocks = [names[block] for block in inner]
        self.tokens = max(calls[block][0][0].shape[1] for block in inner)
        for block in inner:
            extend(block, ShortenedBlock)
        self._keep(context, self.tokens)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Follow the share."""
        drop = value(self.drop, context.p) if context.p < self.until else 0.0
        step = min(MULTIPLE, max(1, self.tokens // MULTIPLE))
        if (kept := min(self.tokens, max(1, round(self.tokens * (1 - drop) / step)) * step)) != self.kept:
            self._keep(context, kept)
        return batch

    def _keep(self, context: Context, kept: int) -> None:
        self.kept = context.variants["token_dropout"] = kept
        for name in self.blocks:
            block: Any = context.model.get_submodule(name)
            block.token_share = kept / self.tokens
