"""Learning from what a finished model says of each training sample, computed once."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import torch
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.tensors import mean_of_counted

MOST_BYTES = 2**32
"""Largest memory that a teacher's soft targets may take."""


class CachedTeacher(Technique):
    """Base: the teacher's likeliest classes are kept, and the student is pulled towards them early on."""

    weight: Number
    temperature: float
    until: float
    top: int
    classes: Tensor
    scores: Tensor

    def setup(self, context: Context) -> None:
        """Ask the teacher about every training sample, once.

        Raises:
            ValueError: If its soft targets would take too much memory.
        """
        teacher = context.reference()
        with torch.no_grad():
            for batch in context.one_epoch():
                output = context.forward(batch.inputs, model=teacher).float()
                kept = (output / self.temperature).log_softmax(-1).topk(min(self.top, output.shape[-1]))
                if not len(self.classes):
                    self._reserve(len(context.sample_loss), kept.values)
                self.classes[batch.index] = kept.indices.int()
                self.scores[batch.index] = kept.values.half()

    def _reserve(self, samples: int, first: Tensor) -> None:
        shape = (samples, *first.shape[1:])
        # A class takes four bytes, its score two.
        if (size := 6 * torch.Size(shape).numel()) > MOST_BYTES:
            raise ValueError(
                f"{type(self).__name__}: a teacher's soft targets of shape {shape} take {size / 2**30:.1f} GiB"
                f" and may take {MOST_BYTES / 2**30:.0f}: choose a smaller `top`"
            )
        self.classes = first.new_empty(shape, dtype=torch.int32)
        self.scores = first.new_empty(shape, dtype=torch.float16)

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """Mix in how far the student is from the teacher."""
        if context.p >= self.until:
            return each
        weight = value(self.weight, context.p)
        classes, scores = self.classes[batch.index].long(), self.scores[batch.index].float()
        apart = self.temperature**2 * divergence(output.float() / self.temperature, classes, scores)
        if apart.dim() > 1:
            apart = mean_of_counted(apart, batch.targets)
        return (1 - weight) * each + weight * apart


def divergence(logits: Tensor, classes: Tensor, scores: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student from a teacher of whom the likeliest classes are known.

    All other classes count as one, so that the student is asked for as much probability on them as the teacher.

    Args:
        logits: Of the student, shape [..., classes].
        classes: The teacher's k likeliest, shape [..., k].
        scores: Their log-probabilities, of the same shape.
    """
    student = logits.log_softmax(-1).gather(-1, classes)
    likely = scores.exp()
    apart = (likely * (scores - student)).sum(-1)
    if classes.shape[-1] == logits.shape[-1]:
        return apart
    rest = (1 - likely.sum(-1)).clamp(min=0)
    left = (1 - student.exp().sum(-1)).clamp(min=1e-6)
    return apart + torch.xlogy(rest, rest) - rest * left.log()


@technique(
    "distillation",
    family="model",
    category="model compression",
    requires=("reference", "labels", "cross_entropy"),
    tags=("distills",),
    # A mixed sample is not the one that the teacher was asked about.
    conflicts=("distills", "mixes", "replaces_loss"),
    order=46,
    paper="arXiv 1503.02531; arXiv 2106.05237",
)
class Distillation(CachedTeacher):
    """Imitate the best finished model in the first part of the training; the teacher is run once a sample.

    Args:
        weight: Share of the loss that is the distance from the teacher.
        temperature: What logits are divided by on both sides.
        until: Progress at which imitation ends.
        top: Likeliest classes that are kept for each sample.
    """

    weight: Number = parameter(0.5, 0.1, 0.9)
    temperature: float = parameter(2.0, 1.0, 4.0)
    until: float = parameter(0.4, 0.2, 0.6)
    top: int = parameter(64, options=(8, 64, 512))
    classes: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
    scores: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)


@technique(
    "token_distillation",
    family="model",
    category="model compression",
    requires=("reference", "tokens", "cross_entropy"),
    tags=("distills",),
    # The teacher's soft targets belong to positions, which a shorter sequence gives other samples.
    conflicts=("distills", "mixes", "replaces_loss", "changes_shapes"),
    order=46,
    paper="arXiv 1503.02531",
)
class TokenDistillation(CachedTeacher):
    """Imitate the best finished language model at every position in the first part of the training.

    Args:
        weight: Share of the loss that is the distance from the teacher.
        temperature: What logits are divided by on both sides.
        until: Progress at which imitation ends.
        top: Likeliest tokens that are kept for each position.
    """

    weight: Number = parameter(0.5, 0.1, 0.9)
    temperature: float = parameter(1.0, 1.0, 4.0)
    until: float = parameter(0.4, 0.2, 0.6)
    top: int = parameter(16, options=(4, 16, 64))
    classes: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
    scores: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
