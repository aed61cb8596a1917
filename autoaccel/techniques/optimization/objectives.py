"""Changes of the loss that is trained on; the one that is reported stays the task's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.tensors import mean_of_counted


@technique(
    "label_smoothing",
    family="optimization",
    cell="efficient objectives",
    needs=("cross_entropy",),
    roles=("smooths",),
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
        smoothed: Tensor = (1 - eps) * each + eps * uniform
        return smoothed
