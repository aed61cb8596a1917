"""Adam and its variants, which scale the step of each weight by the size of its past gradients."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from autoaccel.techniques.base import Number, parameter, technique, value
from autoaccel.techniques.shared.groups import DecayedOptimizer, Group


@technique(
    "adamw",
    family="optimization",
    category="learning rate selection",
    component="optimizer",
    order=60,
    paper="arXiv 1711.05101",
)
class AdamW(DecayedOptimizer):
    """Optimize with Adam and decoupled weight decay.

    Args:
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay.
        beta1: Decay rate of the mean gradient.
        beta2: Decay rate of the mean squared gradient.
        decay_all: Decay every parameter, not only matrices.
    """

    lr: Number = parameter(1e-3, 1e-4, 3e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True, least=0.0)
    beta1: Number = parameter(0.9, 0.8, 0.95)
    beta2: Number = parameter(0.999, 0.9, 0.999)
    decay_all: bool = parameter(False, options=(False, True))

    def shared(self, p: float) -> Group:
        """Return the betas at progress `p`."""
        return {"betas": (value(self.beta1, p), value(self.beta2, p))}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Build torch's fused AdamW."""
        return torch.optim.AdamW(groups, fused=True)


FULL_NESTEROV = 1e9
"""NAdam's `momentum_decay`, which sets the speed of its momentum warm-up; a value this large skips it."""


@technique(
    "nadamw",
    family="optimization",
    category="learning rate selection",
    component="optimizer",
    order=60,
    paper="Dozat 2016; arXiv 1910.05446",
)
class NAdamW(DecayedOptimizer):
    """Optimize with AdamW and Nesterov momentum.

    Args:
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay.
        beta1: Decay rate of the mean gradient.
        beta2: Decay rate of the mean squared gradient.
    """

    lr: Number = parameter(1e-3, 1e-4, 3e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True, least=0.0)
    beta1: Number = parameter(0.9, 0.8, 0.98)
    beta2: Number = parameter(0.999, 0.9, 0.999)

    def shared(self, p: float) -> Group:
        """Return the hyperparameters, without a momentum warm-up in steps, which would ignore the budget."""
        betas = (value(self.beta1, p), value(self.beta2, p))
        return {"betas": betas, "momentum_decay": FULL_NESTEROV, "decoupled_weight_decay": True}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Build torch's NAdam over all parameters at once."""
        return torch.optim.NAdam(groups, foreach=True)


@technique(
    "lamb",
    family="optimization",
    category="large batch size",
    component="optimizer",
    order=60,
    package="pytorch_optimizer",
    extra="optim",
    paper="arXiv 1904.00962",
)
class Lamb(DecayedOptimizer):
    """Scale Adam's update of each tensor to the norm of that tensor, for very large batches.

    Args:
        lr: Peak norm of the update as a share of the tensor's norm.
        weight_decay: Weight decay, added to the update before it is scaled.
        beta1: Decay rate of the mean gradient.
        beta2: Decay rate of the mean squared gradient.
    """

    lr: Number = parameter(5e-3, 5e-4, 5e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True, least=0.0)
    beta1: Number = parameter(0.9, 0.8, 0.95)
    beta2: Number = parameter(0.999, 0.9, 0.999)

    def shared(self, p: float) -> Group:
        """Return the hyperparameters, without bias correction of the moments (`adam_debias`).

        The update is normalized anyway; with bias correction on top, the first steps were ten times as long.
        """
        betas = (value(self.beta1, p), value(self.beta2, p))
        return {"betas": betas, "weight_decouple": False, "adam_debias": True}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Build pytorch_optimizer's LAMB."""
        from pytorch_optimizer.optimizer.lamb import Lamb as Made

        made: torch.optim.Optimizer = Made(groups)
        return made


@technique(
    "adamw8bit",
    family="optimization",
    category="learning rate selection",
    component="optimizer",
    order=60,
    package="torchao",
    extra="lowbit",
    paper="arXiv 2110.02861",
)
class AdamW8bit(DecayedOptimizer):
    """Optimize with AdamW, and store the moments of large tensors in 8 bits instead of 32.

    Args:
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay.
        beta1: Decay rate of the mean gradient.
        beta2: Decay rate of the mean squared gradient.
    """

    lr: Number = parameter(1e-3, 1e-4, 3e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True, least=0.0)
    beta1: Number = parameter(0.9, 0.8, 0.95)
    beta2: Number = parameter(0.999, 0.9, 0.999)

    def shared(self, p: float) -> Group:
        """Return the betas at progress `p`."""
        return {"betas": (value(self.beta1, p), value(self.beta2, p))}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Build torchao's optimizer with an eager step.

        Compiling the step would take longer than many trials, and its cost in FLOPs would not be counted.
        """
        with _quiet():
            from torchao.optim import AdamW8bit as Made

        class Stepping(Made):  # type: ignore[misc]  # defined here because torchao is optional
            def step(self, closure: Callable[[], Any] | None = None) -> Any:
                for group in self.param_groups:
                    if not isinstance(group["lr"], Tensor):
                        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32)
                with _quiet(), torch.compiler.set_stance("force_eager"):
                    return super().step(closure)

        made: torch.optim.Optimizer = Stepping(groups)
        return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torchao's messages about kernels for other machines, and torch's about torchao."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
