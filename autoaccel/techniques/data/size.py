"""How much data a budget can make use of."""

from __future__ import annotations

from dataclasses import field

import torch
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.shared.tensors import summed_over_ranks

PRICED = 0.02
"""Progress by which the price of a sample is known."""


@technique(
    "data_size",
    family="data",
    category="data sampling",
    order=10,
    # Its premise, that the budget decides how much data is best; not its bilevel search for them.
    paper="arXiv 2510.16806",
)
class DataSize(Technique):
    """Use no more of the data than the budget can go through several times.

    What the budget will buy is read from what it has bought, as though samples went on costing the same. A budget
    that affords enough passes over all data leaves them as they are.

    Args:
        passes: BatchSampler over the part that is used.
    """

    passes: int = parameter(4, 2, 10, integer=True)
    affords: float = field(init=False, default=0.0, repr=False)
    kept: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Start a pass once the price of a sample is known."""
        if not self.affords and context.p >= PRICED:
            self.affords = context.seen / context.p
            context.begin_pass()
        return batch

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Keep a part that is drawn once."""
        if not len(self.kept) and self.affords:
            self.kept = self._drawn(context, len(weight)).to(weight)
        return weight * self.kept if len(self.kept) else weight

    def _drawn(self, context: Context, count: int) -> Tensor:
        # Each rank counts from its own part of the batches, and these may differ by one sample.
        total, ranks = summed_over_ranks(torch.tensor([self.affords, 1.0], device=context.device)).tolist()
        size = max(context.batch_size, round(total / ranks / self.passes))
        order = torch.rand(count, generator=context.shared).argsort()
        return torch.zeros(count).index_fill(0, order[:size], 1.0)
