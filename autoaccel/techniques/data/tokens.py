"""Run the inner blocks of a transformer on fewer tokens."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.modules import evaluating, extend, first_calls, token_blocks
from autoaccel.techniques.shared.tensors import call

MULTIPLE = 8
"""The number of kept tokens is a multiple of this: kernels run faster, and few distinct costs have to be counted.

Short sequences use a smaller multiple, since otherwise there would be nothing to choose from."""


class ShortenedBlock(nn.Module):
    """A block that random tokens bypass during training."""

    token_share = 1.0

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        """Return the block's output for the kept tokens and the input for the others, shape [n, t, d].

        The kept tokens stay in order. The first token is always kept: it may be a class token, and in causal
        attention every token attends to it.
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
    # The number of kept tokens changes with progress, and each number is a new shape to compile.
    conflicts=("compiles",),
    order=54,
    paper="arXiv 2211.11586; arXiv 2208.07220",
)
class TokenDropout(Technique):
    """Let random tokens bypass the inner blocks of a transformer until late in training.

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
        """Extend the inner blocks: all except the first and the last, or the second of two."""
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
        """Set the number of kept tokens for the current progress."""
        drop = value(self.drop, context.p) if context.p < self.until else 0.0
        step = min(MULTIPLE, max(1, self.tokens // MULTIPLE))
        if (kept := min(self.tokens, max(1, round(self.tokens * (1 - drop) / step)) * step)) != self.kept:
            self._keep(context, kept)
        return batch

    def resume(self, context: Context, state: dict[str, Any]) -> None:
        """Keep as many tokens as before."""
        super().resume(context, state)
        self._keep(context, self.kept)

    def _keep(self, context: Context, kept: int) -> None:
        self.kept = context.variants["token_dropout"] = kept
        for name in self.blocks:
            block: Any = context.model.get_submodule(name)
            block.token_share = kept / self.tokens
