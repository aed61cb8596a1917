"""Select the samples of each pass by factors on their weights; 0 skips a sample.

All ranks must select the same samples, so random numbers come from `Context.shared`.
"""

from __future__ import annotations

from dataclasses import field

import torch
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value


class PartFirst(Technique):
    """Base of techniques that train on part of the data at first and on all of it later."""

    whole: bool

    def end(self) -> float:
        """Return the progress from which every sample is used."""
        raise NotImplementedError

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Start a pass over all samples as soon as `end` is reached; the current pass may outlast the budget."""
        if not self.whole and context.p >= self.end():
            self.whole = True
            context.begin_pass()
        return batch


@technique(
    "data_dropout",
    family="data",
    category="data sampling",
    requires=("free_order",),
    order=10,
    paper="arXiv 2505.22342",
)
class DataDropout(PartFirst):
    """Train each pass on a random part of the data, and on all of it near the end.

    Args:
        keep: Share of the samples in a pass.
        revise: Progress from which every sample is used.
    """

    keep: Number = parameter(0.5, 0.1, 0.9)
    revise: float = parameter(0.85, 0.8, 0.95)
    whole: bool = field(init=False, default=False, repr=False)

    def end(self) -> float:
        """Return `revise`."""
        return self.revise

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Drop samples at random."""
        if context.p >= self.revise:
            return weight
        drawn = torch.rand(len(weight), generator=context.shared).to(weight.device)
        return weight * (drawn < value(self.keep, context.p))


@technique(
    "infobatch",
    family="data",
    category="data sampling",
    requires=("free_order", "sample_losses"),
    tags=("selects_by_loss",),
    conflicts=("selects_by_loss",),
    order=12,
    paper="arXiv 2303.04947",
)
class InfoBatch(PartFirst):
    """Skip random samples of low loss and give the remaining low-loss samples more weight.

    Args:
        ratio: Share of the samples with a loss below the mean that each pass skips.
        until: Progress from which every sample is used.
    """

    ratio: Number = parameter(0.5, 0.2, 0.6)
    until: float = parameter(0.875, 0.8, 0.95)
    whole: bool = field(init=False, default=False, repr=False)

    def end(self) -> float:
        """Return `until`."""
        return self.until

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Prune and reweight, so that the expected gradient stays that of all samples."""
        if context.p >= self.until:
            return weight
        ratio = value(self.ratio, context.p)
        losses = context.sample_loss
        learned = losses < losses.nanmean()
        drawn = torch.rand(len(weight), generator=context.shared).to(weight.device)
        pruned = torch.where(drawn < ratio, 0.0, 1 / (1 - ratio))
        return torch.where(learned, weight * pruned, weight)
