"""Optimizers that keep one momentum and no second moment."""

from __future__ import annotations

import torch

from autoaccel.techniques.base import Number, parameter, technique, value
from autoaccel.techniques.shared.groups import DecayedOptimizer, Group


@technique(
    "sgd",
    family="optimization",
    category="learning rate selection",
    component="optimizer",
    order=60,
    paper="Sutskever et al. 2013",
)
class SGD(DecayedOptimizer):
    """Stochastic gradient descent with Nesterov momentum.

    Args:
        lr: Learning rate at its peak.
        momentum: Share of the last step that is kept.
        weight_decay: L2 penalty.
        decay_all: Decay every parameter, not only matrices.
    """

    lr: Number = parameter(0.05, 1e-2, 1.0, log=True)
    momentum: Number = parameter(0.9, 0.8, 0.98)
    weight_decay: Number = parameter(5e-4, 1e-6, 1e-2, log=True)
    decay_all: bool = parameter(False, options=(False, True))

    def shared(self, p: float) -> Group:
        """Momentum, which without any has nothing to look ahead with."""
        momentum = value(self.momentum, p)
        return {"momentum": momentum, "nesterov": momentum > 0}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """torch's own, fused.

        It wants momenta of all parameters or of none, and after surgery some are new: all begin with zeros.
        """
        made = torch.optim.SGD(groups, fused=True)
        for group in made.param_groups:
            for p in group["params"]:
                made.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return made


@technique(
    "lion",
    family="optimization",
    category="learning rate selection",
    component="optimizer",
    order=60,
    package="pytorch_optimizer",
    extra="optim",
    paper="arXiv 2302.06675",
)
class Lion(DecayedOptimizer):
    """Steps of one length for all weights, in the direction of the momentum's sign.

    Args:
        lr: Learning rate at its peak; a third to a tenth of AdamW's.
        weight_decay: Decoupled weight decay; as many times AdamW's.
        beta1: Share of the momentum in a step.
        beta2: Memory of the momentum.
    """

    lr: Number = parameter(2e-4, 2e-5, 5e-3, log=True)
    weight_decay: Number = parameter(0.1, 1e-3, 3.0, log=True)
    beta1: Number = parameter(0.9, 0.8, 0.95)
    beta2: Number = parameter(0.99, 0.95, 0.999)

    def shared(self, p: float) -> Group:
        """Both betas."""
        return {"betas": (value(self.beta1, p), value(self.beta2, p))}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """The one of pytorch_optimizer."""
        from pytorch_optimizer.optimizer.lion import Lion as Made

        made: torch.optim.Optimizer = Made(groups)
        return made
