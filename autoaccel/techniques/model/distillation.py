"""Distill from a finished model whose outputs for the training samples are computed once."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import torch
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value

MOST_BYTES = 2**32
"""Maximum size of the teacher's soft targets in bytes."""


class CachedTeacher(Technique):
    """Base of distillation: caches the teacher's top classes and trains on them early on."""

    weight: Number
    temperature: float
    until: float
    top: int
    classes: Tensor
    scores: Tensor

    def setup(self, context: Context) -> None:
        """Run the teacher once on every training sample and store its soft targets.

        Raises:
            ValueError: If the soft targets would take too much memory.
        """
        teacher = context.reference()
        with torch.no_grad():
            for batch in context.one_epoch():
                output = context.forward(batch.inputs, model=teacher).float().movedim(context.class_axis, -1)
                kept = (output / self.temperature).log_softmax(-1).topk(min(self.top, output.shape[-1]))
                if not len(self.classes):
                    self._reserve(len(context.sample_loss), kept.values)
                self.classes[batch.index] = kept.indices.int()
                self.scores[batch.index] = kept.values.half()

    def _reserve(self, samples: int, first: Tensor) -> None:
        shape = (samples, *first.shape[1:])
        # An int32 class takes four bytes, its float16 score two.
        if (size := 6 * torch.Size(shape).numel()) > MOST_BYTES:
            raise ValueError(
                f"{type(self).__name__}: a teacher's soft targets of shape {shape} take {size / 2**30:.1f} GiB"
                f" and may take {MOST_BYTES / 2**30:.0f}: choose a smaller `top`"
            )
        self.classes = first.new_empty(shape, dtype=torch.int32)
        self.scores = first.new_empty(shape, dtype=torch.float16)

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """Mix the distillation loss into the task loss before `until`."""
        if context.p >= self.until:
            return each
        weight = value(self.weight, context.p)
        classes, scores = self.classes[batch.index].long(), self.scores[batch.index].float()
        logits = output.float().movedim(context.class_axis, -1)
        apart = self.temperature**2 * divergence(logits / self.temperature, classes, scores)
        return (1 - weight) * each + weight * context.of_samples(apart, batch.targets)


def divergence(logits: Tensor, classes: Tensor, scores: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence from teacher to student, given the teacher's top k classes.

    All other classes are merged into one, so that the student learns their total probability.

    Args:
        logits: Student logits, shape [..., classes].
        classes: Top k classes of the teacher, shape [..., k].
        scores: Log-probabilities of these classes, shape [..., k].

    Returns:
        The divergence, shape [...].
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
    requires=("reference", "labels", "cross_entropy", "indexed"),
    tags=("distills",),
    # The soft targets are those of unmixed samples.
    conflicts=("distills", "mixes", "replaces_loss"),
    order=46,
    paper="arXiv 1503.02531; arXiv 2106.05237",
)
class Distillation(CachedTeacher):
    """Distill from the run's best finished model early in training, with cached soft targets.

    Args:
        weight: Weight of the distillation loss; the task loss has the rest.
        temperature: Divisor of the logits of teacher and student.
        until: Progress at which distillation ends.
        top: Number of most likely classes that are stored for each sample.
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
    requires=("reference", "tokens", "cross_entropy", "indexed"),
    tags=("distills",),
    # Soft targets are stored by sample and position, and shortened sequences change both.
    conflicts=("distills", "mixes", "replaces_loss", "changes_shapes"),
    order=46,
    paper="arXiv 1503.02531",
)
class TokenDistillation(CachedTeacher):
    """Distill from the run's best finished language model at every position early in training.

    Args:
        weight: Weight of the distillation loss; the task loss has the rest.
        temperature: Divisor of the logits of teacher and student.
        until: Progress at which distillation ends.
        top: Number of most likely tokens that are stored for each position.
    """

    weight: Number = parameter(0.5, 0.1, 0.9)
    temperature: float = parameter(1.0, 1.0, 4.0)
    until: float = parameter(0.4, 0.2, 0.6)
    top: int = parameter(16, options=(4, 16, 64))
    classes: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
    scores: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)
