"""Train on easy samples first and add the others over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from autoaccel.techniques.base import Context, Technique, parameter, technique

PACING: Mapping[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "root": lambda t: float(t**0.5),
    "quadratic": lambda t: t * t,
}


@technique(
    "loss_curriculum",
    family="data",
    category="curriculum learning",
    requires=("free_order", "sample_losses"),
    tags=("selects_by_loss",),
    conflicts=("selects_by_loss",),
    order=12,
    paper="arXiv 2012.03107",
)
class LossCurriculum(Technique):
    """Train on the samples with the lowest loss first and add the others over time.

    A sample's loss is that of its last visit, so the first pass uses all samples.

    Args:
        share: Share of the samples that is used at first.
        until: Progress from which all samples are used.
        pacing: How the share grows in between: evenly (`linear`), fast at first (`root`) or slowly at first
            (`quadratic`).
        first: Whether samples with low loss (`easy`) or with high loss (`hard`) come first.
    """

    share: float = parameter(0.5, 0.2, 0.9)
    until: float = parameter(0.5, 0.2, 0.8)
    pacing: str = parameter("root", options=tuple(PACING))
    first: str = parameter("easy", options=("easy", "hard"))

    def admitted(self, p: float) -> float:
        """Return the share of the samples that is used at progress `p`."""
        if p >= self.until:
            return 1.0
        return self.share + (1 - self.share) * PACING[self.pacing](p / self.until)

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Skip the samples that are not used yet."""
        share, losses = self.admitted(context.p), context.sample_loss
        if share >= 1 or bool(losses.isnan().all()):
            return weight
        # Samples never seen rank in the middle.
        known = torch.where(losses.isnan(), losses.nanmedian(), losses)
        ranked = known.argsort(descending=self.first == "hard", stable=True)  # all ranks must break ties alike
        skipped = ranked[max(1, round(share * len(ranked))) :]
        return weight.index_fill(0, skipped, 0.0)
