"""Optimizers with momentum and no second moment."""

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
    """Optimize with stochastic gradient descent and Nesterov momentum.

    Args:
        lr: Peak learning rate.
        momentum: Momentum coefficient, the share of the last update that is kept.
        weight_decay: L2 penalty.
        decay_all: Decay every parameter, not only matrices.
    """

    lr: Number = parameter(0.05, 1e-2, 1.0, log=True)
    momentum: Number = parameter(0.9, 0.8, 0.98)
    weight_decay: Number = parameter(5e-4, 1e-6, 1e-2, log=True, least=0.0)
    decay_all: bool = parameter(False, options=(False, True))

    def shared(self, p: float) -> Group:
        """Return the momentum, with Nesterov only if it is positive, as torch requires."""
        momentum = value(self.momentum, p)
        return {"momentum": momentum, "nesterov": momentum > 0}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Build torch's fused SGD, with momentum buffers of zeros.

        The fused step needs buffers for all parameters or for none, and model surgery adds parameters without one.
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
    """Update all weights by steps of equal size, with the sign of the momentum.

    Args:
        lr: Peak learning rate; a third to a tenth of AdamW's.
        weight_decay: Decoupled weight decay; three to ten times AdamW's.
        beta1: Share of the momentum, as opposed to the gradient, in an update.
        beta2: Decay rate of the momentum.
    """

    lr: Number = parameter(2e-4, 2e-5, 5e-3, log=True)
    weight_decay: Number = parameter(0.1, 1e-3, 3.0, log=True, least=0.0)
    beta1: Number = parameter(0.9, 0.8, 0.95)
    beta2: Number = parameter(0.99, 0.95, 0.999)

    def shared(self, p: float) -> Group:
        """Return the betas at progress `p`."""
        return {"betas": (value(self.beta1, p), value(self.beta2, p))}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Build pytorch_optimizer's Lion."""
        from pytorch_optimizer.optimizer.lion import Lion as Made

        made: torch.optim.Optimizer = Made(groups)
        return made
