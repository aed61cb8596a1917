"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from typing import ClassVar

import torch

from autoaccel.techniques.base import Number, parameter, technique, value
from autoaccel.techniques.shared.groups import DecayedOptimizer, Group

LARGEST_SIDE = 4096
"""Longer sides of a matrix, such as a vocabulary, keep their own basis: an eigenbasis costs their third power."""


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
    """Adam in a basis that follows the gradients' covariance; its first update only looks for that basis.

    Args:
        lr: Learning rate at its peak.
        weight_decay: Decoupled weight decay.
        beta1: Memory of the mean gradient.
        beta2: Memory of its square and of the covariance.
        every: Updates between two corrections of the basis.
    """

    # Averages that are old already must not be corrected for being young.
    counters: ClassVar[tuple[str, ...]] = ("step",)
    lr: Number = parameter(3e-3, 3e-4, 3e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True)
    beta1: Number = parameter(0.95, 0.8, 0.98)
    beta2: Number = parameter(0.95, 0.9, 0.999)
    every: int = parameter(10, 2, 50, log=True, integer=True)

    def shared(self, p: float) -> Group:
        """Both memories, and how the basis is kept."""
        betas = (value(self.beta1, p), value(self.beta2, p))
        return {"betas": betas, "precondition_frequency": self.every, "max_precondition_dim": LARGEST_SIDE}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """The one of pytorch_optimizer."""
        from pytorch_optimizer.optimizer.soap import SOAP

        made: torch.optim.Optimizer = SOAP(groups)
        return made

    def period(self) -> int:
        """The basis is corrected once in so many updates."""
        return self.every
