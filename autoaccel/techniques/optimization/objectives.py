"""Changes of the loss that is trained on; the one that is reported stays the task's."""

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
    """Ask for a little probability on every class.

    Args:
        eps: Share of the target that is spread over all classes.
    """

    eps: Number = parameter(0.1, 0.0, 0.2)

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """Mix in the cross entropy with the uniform distribution."""
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
        """How much the label of each sample counts in the task's own loss, shape [n]."""
        own = label_weights(context, batch.targets)
        if batch.other is None or batch.share is None:
            return own
        return batch.share * own + (1 - batch.share) * label_weights(context, batch.other)


def label_weights(context: Context, labels: Tensor) -> Tensor:
    """The weight of each label's loss, shape [n]: 0 where it is ignored, else its class's."""
    counted = (labels != IGNORED).float()
    return counted if context.class_weights is None else counted * context.class_weights[labels.clamp(min=0)]


class ClassLoss(Technique):
    """Base of the losses in place of cross entropy: they weight, mix and leave out what the task's own does."""

    def of_labels(self, context: Context, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each label: logits of shape [..., classes], labels and losses of shape [...]."""
        raise NotImplementedError

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """The loss of each sample, with that of its second target where it is mixed."""
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
    # It smooths its targets itself: label smoothing would mix in another loss's uniform part.
    conflicts=("replaces_loss", "smooths"),
    order=44,
    paper="arXiv 2110.00476",
)
class OneAgainstRest(ClassLoss):
    """Ask of each class by itself whether it is the one: binary cross entropies, summed over the classes.

    Args:
        smoothing: Share of the target that is spread over all classes.
    """

    smoothing: Number = parameter(0.0, 0.0, 0.2)

    def of_labels(self, context: Context, logits: Tensor, labels: Tensor) -> Tensor:
        """Targets are linear in this loss, so that no tensor of all classes has to hold them."""
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
    """Cross entropy that counts the less the surer the model is of the right class.

    Args:
        gamma: Power of the probability of being wrong that it is multiplied with.
    """

    gamma: Number = parameter(2.0, 0.5, 5.0)

    def of_labels(self, context: Context, logits: Tensor, labels: Tensor) -> Tensor:
        """Multiply the cross entropy."""
        right = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
        # At a probability of exactly one, a power below one has no slope.
        wrong = (-right.expm1()).clamp(min=1e-7)
        focal: Tensor = -(wrong ** value(self.gamma, context.p)) * right
        return focal
