"""Choose a fixed subset of the data that covers easy and hard samples, by scores measured during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import torch
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.shared.tensors import summed_over_ranks

Hardness = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Map `(logits [n, classes], labels [n], loss [n])` to the hardness of each sample, shape [n]."""

UNSEEN = float("inf")
"""Placeholder for the score of a sample not seen in the current pass."""


def el2n(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Return the L2 distance of the predicted probabilities from the one-hot label (arXiv 2107.07075)."""
    p = logits.softmax(1)
    own = _of_label(p, labels)
    return (p.square().sum(1) - 2 * own + 1).clamp(min=0).sqrt()


def margin(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Return the largest other logit minus that of the label (arXiv 2001.10528)."""
    others = logits.scatter(1, labels.clamp(min=0)[:, None], float("-inf")).amax(1)
    return others - _of_label(logits, labels)


def mistake(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Return 1 for wrong predictions and 0 for right ones, to count forgetting across visits (arXiv 1812.05159)."""
    return (logits.argmax(1) != labels).to(logits.dtype)


def task_loss(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Return the loss unchanged."""
    return loss


HARDNESS: Mapping[str, Hardness] = {"el2n": el2n, "loss": task_loss, "forgetting": mistake, "margin": margin}


@technique(
    "coreset",
    family="data",
    category="data sampling",
    requires=("labels", "free_order", "sample_losses"),
    tags=("selects_by_loss",),
    # The output for a mixed sample says nothing about either of its two samples.
    conflicts=("selects_by_loss", "mixes"),
    order=12,
    paper="arXiv 2210.15809",
)
class Coreset(Technique):
    """Score samples early in training, then train on a subset that covers all levels of difficulty.

    Scores cost nothing extra: they are computed from the outputs of training. Samples not seen by then are kept at
    random, at the same rate.

    Args:
        keep: Share of the samples that is kept.
        beta: Share of the hardest samples, which are left out as probably mislabeled.
        score: Measure of difficulty. `el2n`, `loss` and `margin` are means over visits; `forgetting` counts how
            often a learned sample was forgotten, with samples never learned as the hardest.
        bins: Number of score ranges over which the kept samples are spread evenly.
        at: Progress at which the subset is chosen.
        revise: Progress from which every sample is used.
    """

    keep: float = parameter(0.5, 0.1, 0.9)
    beta: float = parameter(0.1, 0.0, 0.3)
    score: str = parameter("el2n", options=tuple(HARDNESS))
    bins: int = parameter(50, 20, 50, integer=True)
    at: float = parameter(0.15, 0.05, 0.4)
    revise: float = parameter(0.9, 0.8, 1.0)
    noted: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
    total: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
    visits: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
    last: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
    ever: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
    kept: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
    stage: int = field(init=False, default=0, repr=False)

    def setup(self, context: Context) -> None:
        """Allocate the statistics of each sample."""
        zeros = torch.zeros_like(context.sample_loss)
        self.noted = torch.full_like(zeros, UNSEEN)
        self.total, self.visits, self.ever = zeros.clone(), zeros.clone(), zeros.clone()
        self.last = torch.ones_like(zeros)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Start a new pass at `at` and at `revise`."""
        stage = int(context.p >= self.at) + int(context.p >= self.revise)
        if stage > self.stage:
            self.stage = stage
            context.begin_pass()
        return batch

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """Record the hardness of each sample in the batch."""
        if context.p < self.at:
            score = HARDNESS[self.score](_as_classes(output.detach()), batch.targets, each.detach())
            known = self.noted[batch.index]
            # A recomputed gradient, at other weights, does not count as a second visit.
            self.noted[batch.index] = torch.where(known == UNSEEN, score.to(known.dtype), known)
        return each

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Keep the chosen subset until `revise`."""
        if context.p >= self.revise:
            return weight
        if not len(self.kept):
            self._count_visits()
            if context.p < self.at:
                return weight
            self.kept = self._chosen(context.shared).to(weight.device)
        return weight * self.kept

    def _count_visits(self) -> None:
        """Add the scores of all ranks from the last pass; each sample was on at most one rank, or on all."""
        here = self.noted != UNSEEN
        found = summed_over_ranks(torch.where(here, self.noted, 0.0))
        seen = summed_over_ranks(here.to(found.dtype))
        if self.score == "forgetting":
            right = (seen > 0) & (found == 0)
            self.total += (seen > 0) & (self.last == 0) & (found > 0)
            self.last = torch.where(seen > 0, found, self.last)
            self.ever = torch.where(right, 1.0, self.ever)
        else:
            self.total += found
        self.visits += seen
        self.noted.fill_(UNSEEN)

    def hardness(self) -> Tensor:
        """Return the score of each sample, shape [n_train]; NaN if it was never seen."""
        if self.score == "forgetting":
            score = torch.where(self.ever > 0, self.total, self.total.max() + 1)
        else:
            score = self.total / self.visits.clamp(min=1)
        return torch.where(self.visits > 0, score, float("nan"))

    def _chosen(self, generator: torch.Generator) -> Tensor:
        hardness = self.hardness().cpu()
        known, unknown = (~hardness.isnan()).nonzero().flatten(), hardness.isnan().nonzero().flatten()
        kept = torch.zeros_like(hardness)
        kept[known[stratified(hardness[known], self.keep, self.beta, self.bins, generator)]] = 1.0
        drawn = torch.randperm(len(unknown), generator=generator)[: round(self.keep * len(unknown))]
        kept[unknown[drawn]] = 1.0
        return kept


def stratified(hardness: Tensor, keep: float, beta: float, bins: int, generator: torch.Generator) -> Tensor:
    """Return the indices of a coverage-centric coreset (arXiv 2210.15809).

    Args:
        hardness: Hardness of each sample, shape [n], on the CPU.
        keep: Share of the samples that is kept.
        beta: Share of the hardest samples that is left out first; less if too few would be left.
        bins: Number of score ranges of equal width. The samples to keep are divided evenly among them, starting
            with the range with the fewest samples, so that the others make up for any shortfall.
        generator: CPU generator for the draws within a range.
    """
    budget = round(keep * len(hardness))
    if budget == 0:
        return torch.empty(0, dtype=torch.long)
    easier = hardness.argsort(stable=True)[: max(budget, len(hardness) - round(beta * len(hardness)))]
    low, high = hardness[easier[0]], hardness[easier[-1]]
    share = (hardness[easier] - low) / (high - low).clamp(min=torch.finfo(hardness.dtype).tiny)
    place = (share * bins).long().clamp(max=bins - 1)
    parts = sorted((easier[place == i] for i in place.unique()), key=len)
    chosen = []
    for i, part in enumerate(parts):
        count = min(len(part), budget // (len(parts) - i))
        chosen.append(part[torch.randperm(len(part), generator=generator)[:count]])
        budget -= count
    return torch.cat(chosen)


def _as_classes(output: Tensor) -> Tensor:
    """Return logits of each class; a single logit is that of the second of two classes."""
    if output.dim() > 1 and output.shape[1] > 1:
        return output
    single = output.reshape(-1)
    return torch.stack([torch.zeros_like(single), single], 1)


def _of_label(values: Tensor, labels: Tensor) -> Tensor:
    # Ignored labels are negative.
    return values.gather(1, labels.clamp(min=0)[:, None])[:, 0]
