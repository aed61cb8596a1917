"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from typing import ClassVar

import torch

from autoaccel.techniques.base import Number, parameter, technique, value
from autoaccel.techniques.shared.groups import DecayedOptimizer, Group

LARGEST_SIDE = 4096
"""Longer dimensions, such as a vocabulary, are not rotated: the cost of an eigenbasis is cubic in the length."""


@technique(
    "soap",
    family="optimization",
    category="learning rate selection",
    component="optimizer",
    order=60,
    package="pytorch_optimizer",
    extra="optim",
    paper="arXiv 2409.11321",
)
class Soap(DecayedOptimizer):
    """Optimize with Adam in a basis that follows the covariance of the gradients.

    The first update only initializes the basis.

    Args:
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay.
        beta1: Decay rate of the mean gradient.
        beta2: Decay rate of the mean squared gradient and of the covariance.
        every: Updates from one correction of the basis to the next.
    """

    # The step count is kept on a rebuild, as the moments are: their bias correction must not start again.
    counters: ClassVar[tuple[str, ...]] = ("step",)
    lr: Number = parameter(3e-3, 3e-4, 3e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True, least=0.0)
    beta1: Number = parameter(0.95, 0.8, 0.98)
    beta2: Number = parameter(0.95, 0.9, 0.999)
    every: int = parameter(10, 2, 50, log=True, integer=True)

    def shared(self, p: float) -> Group:
        """Return the betas, and the basis's update interval and largest dimension."""
        betas = (value(self.beta1, p), value(self.beta2, p))
        return {"betas": betas, "precondition_frequency": self.every, "max_precondition_dim": LARGEST_SIDE}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Build pytorch_optimizer's SOAP."""
        from pytorch_optimizer.optimizer.soap import SOAP

        made: torch.optim.Optimizer = SOAP(groups)
        return made

    def period(self) -> int:
        """Return the number of updates between two corrections of the basis."""
        return self.every
