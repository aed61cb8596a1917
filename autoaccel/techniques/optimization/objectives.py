"""Changes of the loss that is trained on; the one that is reported stays the task's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value


@technique(
    "label_smoothing",
    family="optimization",
    cell="efficient objectives",
    needs=("classes",),
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
        if output.dim() < 2 or output.shape[-1] == 1:
            return each
        eps = value(self.eps, context.p)
        classes = -1 if context.kind == "tokens" else 1
        uniform: Tensor = -output.log_softmax(classes).mean(classes)
        if uniform.dim() > 1:
            uniform = uniform.flatten(1).mean(1)
        smoothed: Tensor = (1 - eps) * each + eps * uniform
        return smoothed
