"""Limit the amount of training data to what the budget can use."""

from __future__ import annotations

from dataclasses import field

import torch
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique

PRICED = 0.02
"""Progress at which the cost of a sample is known well enough."""


@technique(
    "data_size",
    family="data",
    category="data sampling",
    requires=("free_order",),
    order=10,
    # Only its premise that the best amount of data depends on the budget, not its bilevel search.
    paper="arXiv 2510.16806",
)
class DataSize(Technique):
    """Limit the training data to a random subset that the budget can pass over several times.

    The number of samples that the budget affords is extrapolated from the samples seen so far, at constant cost per
    sample. If the budget affords enough passes over all data, all of them are used.

    Args:
        passes: Number of passes over the subset that the budget should afford.
    """

    passes: int = parameter(4, 2, 10, integer=True)
    affords: float = field(init=False, default=0.0, repr=False)
    kept: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Start a new pass once the cost of a sample is known."""
        if not self.affords and context.p >= PRICED:
            self.affords = context.seen / context.p
            context.begin_pass()
        return batch

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Keep a random subset that is drawn once."""
        if not len(self.kept) and self.affords:
            self.kept = self._drawn(context, len(weight)).to(weight)
        return weight * self.kept if len(self.kept) else weight

    def _drawn(self, context: Context, count: int) -> Tensor:
        size = max(context.batch_size, round(self.affords / self.passes))
        order = torch.rand(count, generator=context.shared).argsort()
        return torch.zeros(count).index_fill(0, order[:size], 1.0)
