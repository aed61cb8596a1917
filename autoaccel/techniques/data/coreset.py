"""A fixed part of the data that still covers easy and hard samples, chosen by what training has shown of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import torch
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.shared.tensors import summed_over_ranks

Hardness = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(logits [n, classes], labels [n], loss [n])` to how hard each sample is, shape [n]."""

UNSEEN = float("inf")
"""In the place of a score."""


def el2n(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Distance of the predicted probabilities from the one-hot label (arXiv 2107.07075)."""
    p = logits.softmax(1)
    own = _of_label(p, labels)
    return (p.square().sum(1) - 2 * own + 1).clamp(min=0).sqrt()


def margin(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """How far the largest other logit is above that of the label (arXiv 2001.10528)."""
    others = logits.scatter(1, labels.clamp(min=0)[:, None], float("-inf")).amax(1)
    return others - _of_label(logits, labels)


def mistake(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """1 where another class is predicted, else 0; visits are compared for it (arXiv 1812.05159)."""
    return (logits.argmax(1) != labels).to(logits.dtype)


def task_loss(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """The loss as it is."""
    return loss


HARDNESS: Mapping[str, Hardness] = {"el2n": el2n, "loss": task_loss, "forgetting": mistake, "margin": margin}


@technique(
    "coreset",
    family="data",
    category="data sampling",
    requires=("labels",),
    tags=("selects_by_loss",),
    # The output for a blend of samples says nothing about a single one.
    conflicts=("selects_by_loss", "mixes"),
    order=12,
    paper="arXiv 2210.15809",
)
class Coreset(Technique):
    """Hardness samples while they are trained on, then go on with a part that covers all degrees of difficulty.

    Scores cost nothing: they are taken from outputs that training computes anyway. Samples that were not seen
    until then are kept in proportion, at random.

    Args:
        keep: Share of the samples that is kept.
        beta: Share of the samples, the hardest, that is left out as probably mislabeled.
        score: What is taken for difficulty. `el2n`, `loss` and `margin` are means over visits; `forgetting`
            counts how often a learned sample was lost again, with those never learned as the hardest.
        bins: Ranges of the score among which the kept samples are spread evenly.
        at: Progress at which the part is chosen.
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
        """Nothing is known of any sample."""
        zeros = torch.zeros_like(context.sample_loss)
        self.noted = torch.full_like(zeros, UNSEEN)
        self.total, self.visits, self.ever = zeros.clone(), zeros.clone(), zeros.clone()
        self.last = torch.ones_like(zeros)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Start a pass when the part is due, and when it has served."""
        stage = int(context.p >= self.at) + int(context.p >= self.revise)
        if stage > self.stage:
            self.stage = stage
            context.begin_pass()
        return batch

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """Note how hard each sample was."""
        if context.p < self.at:
            score = HARDNESS[self.score](_as_classes(output.detach()), batch.targets, each.detach())
            known = self.noted[batch.index]
            # A gradient that is computed again, at other weights, is no second visit.
            self.noted[batch.index] = torch.where(known == UNSEEN, score.to(known.dtype), known)
        return each

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Keep the chosen part."""
        if context.p >= self.revise:
            return weight
        if not len(self.kept):
            self._count_visits()
            if context.p < self.at:
                return weight
            self.kept = self._chosen(context.shared).to(weight.device)
        return weight * self.kept

    def _count_visits(self) -> None:
        """Add what all ranks noted in the pass that ends; each sample was on one of them at most."""
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
        """The score of each sample, shape [n_train]; NaN where it was never seen."""
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
    """Places of a coverage-centric coreset (arXiv 2210.15809).

    Args:
        hardness: Hardness of each sample, shape [n], on the CPU.
        keep: Share of the samples that is kept.
        beta: Share that is left out first, the hardest; less where that would leave too few.
        bins: Ranges of equal width; what is to be kept is divided evenly among them, the smallest first, since
            what a small one lacks falls to the others.
        generator: Of the draw within a bin.
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
    """Logits of each class; a single logit is that of the second of two."""
    if output.dim() > 1 and output.shape[1] > 1:
        return output
    single = output.reshape(-1)
    return torch.stack([torch.zeros_like(single), single], 1)


def _of_label(values: Tensor, labels: Tensor) -> Tensor:
    # Labels that do not count are negative.
    return values.gather(1, labels.clamp(min=0)[:, None])[:, 0]
