"""Changes to the training loss; the reported loss is still the task's."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value


@technique(
    "label_smoothing",
    family="optimization",
    category="efficient objectives",
    requires=("cross_entropy",),
    tags=("smooths",),
    order=45,
    paper="arXiv 1512.00567",
)
class LabelSmoothing(Technique):
    """Smooth the targets: spread a small share of the probability over all classes.

    Args:
        eps: Share of the target that is spread over all classes.
    """

    eps: Number = parameter(0.1, 0.0, 0.2)

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """Mix in the cross-entropy with the uniform distribution."""
        eps = value(self.eps, context.p)
        uniform = -output.log_softmax(context.class_axis).mean(context.class_axis)
        smoothed: Tensor = (1 - eps) * each + eps * context.of_samples(uniform, batch.targets)
        return smoothed


class ClassLoss(Technique):
    """Base class of losses that replace cross-entropy."""

    def of_labels(self, context: Context, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each label, shape [...], for logits [..., classes] and labels [...]."""
        raise NotImplementedError

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """Return the loss of each sample, shape [n], mixed with that of its second target if there is one."""
        logits = output.movedim(context.class_axis, -1)
        own = self._of_samples(context, logits, batch.targets)
        if batch.other is None or batch.share is None:
            return own
        return batch.share * own + (1 - batch.share) * self._of_samples(context, logits, batch.other)

    def _of_samples(self, context: Context, logits: Tensor, targets: Tensor) -> Tensor:
        labels = targets.where(targets != context.ignored, 0)  # what is ignored counts nothing in the mean
        return context.of_samples(self.of_labels(context, logits, labels), targets)


@technique(
    "bce",
    family="optimization",
    category="efficient objectives",
    requires=("cross_entropy", "classes"),
    tags=("replaces_loss",),
    # It smooths its targets itself: label smoothing would add the uniform part of cross-entropy.
    conflicts=("replaces_loss", "smooths"),
    order=44,
    paper="arXiv 2110.00476",
)
class OneAgainstRest(ClassLoss):
    """Replace cross-entropy by binary cross-entropies, one per class, summed over the classes.

    Args:
        smoothing: Share of the target that is spread over all classes.
    """

    smoothing: Number = parameter(0.0, 0.0, 0.2)

    def of_labels(self, context: Context, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the summed binary cross-entropies of each label.

        The loss is linear in the targets, so they need no tensor over all classes.
        """
        smoothing = value(self.smoothing, context.p)
        own = logits.gather(-1, labels[..., None]).squeeze(-1)
        asked = (1 - smoothing) * own + smoothing * logits.mean(-1)
        return F.softplus(logits).sum(-1) - asked


@technique(
    "focal",
    family="optimization",
    category="efficient objectives",
    requires=("cross_entropy", "classes"),
    tags=("replaces_loss",),
    conflicts=("replaces_loss",),
    order=44,
    paper="arXiv 1708.02002",
)
class Focal(ClassLoss):
    """Reduce the cross-entropy where the model is already confident of the correct class.

    Args:
        gamma: Exponent of the focal factor (1 - probability of the correct class).
    """

    gamma: Number = parameter(2.0, 0.5, 5.0)

    def of_labels(self, context: Context, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of each label, multiplied by the focal factor."""
        right = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
        # Without a lower bound, an exponent below 1 has an infinite gradient at probability 1.
        wrong = (-right.expm1()).clamp(min=1e-7)
        focal: Tensor = -(wrong ** value(self.gamma, context.p)) * right
        return focal
