"""Changes to the training loss; the reported loss is still the task's."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.tensors import IGNORED, mean_of_counted


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
        classes = -1 if context.kind == "tokens" else 1
        uniform: Tensor = -output.log_softmax(classes).mean(classes)
        if uniform.dim() > 1:
            uniform = mean_of_counted(uniform, batch.targets)
        elif batch.targets.dim() == 1:
            uniform = uniform * self._counted(context, batch)
        smoothed: Tensor = (1 - eps) * each + eps * uniform
        return smoothed

    def _counted(self, context: Context, batch: Batch) -> Tensor:
        """Return the weight of each sample's labels in the task loss, shape [n]."""
        own = label_weights(context, batch.targets)
        if batch.other is None or batch.share is None:
            return own
        return batch.share * own + (1 - batch.share) * label_weights(context, batch.other)


def label_weights(context: Context, labels: Tensor) -> Tensor:
    """Return the loss weight of each label, shape [n]: its class's weight, or 0 if the label is ignored."""
    counted = (labels != IGNORED).float()
    return counted if context.class_weights is None else counted * context.class_weights[labels.clamp(min=0)]


class ClassLoss(Technique):
    """Base class of losses that replace cross-entropy, with its class weights, mixing and ignored labels."""

    def of_labels(self, context: Context, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each label, shape [...], for logits [..., classes] and labels [...]."""
        raise NotImplementedError

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """Return the loss of each sample, shape [n], mixed with that of its second target if there is one."""
        logits = output if context.kind == "tokens" else output.movedim(1, -1)
        own = self._of_samples(context, logits, batch.targets)
        if batch.other is None or batch.share is None:
            return own
        return batch.share * own + (1 - batch.share) * self._of_samples(context, logits, batch.other)

    def _of_samples(self, context: Context, logits: Tensor, targets: Tensor) -> Tensor:
        each = self.of_labels(context, logits, targets.clamp(min=0))
        if each.dim() > 1:
            return mean_of_counted(each, targets)
        return each * label_weights(context, targets)


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
