"""Adam and its relatives: a step for each weight, scaled by how large its gradients have been."""

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
    """Adam with decoupled weight decay.

    Args:
        lr: Learning rate at its peak.
        weight_decay: Decoupled weight decay.
        beta1: Memory of the mean gradient.
        beta2: Memory of its square.
        decay_all: Decay every parameter, not only matrices.
    """

    lr: Number = parameter(1e-3, 1e-4, 3e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True)
    beta1: Number = parameter(0.9, 0.8, 0.95)
    beta2: Number = parameter(0.999, 0.9, 0.999)
    decay_all: bool = parameter(False, options=(False, True))

    def shared(self, p: float) -> Group:
        """Both memories."""
        return {"betas": (value(self.beta1, p), value(self.beta2, p))}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """torch's own, fused."""
        return torch.optim.AdamW(groups, fused=True)


FULL_NESTEROV = 1e9
"""torch warms NAdam's look-ahead up over steps, the faster the larger this is: here it is whole at once."""


@technique(
    "nadamw",
    family="optimization",
    category="learning rate selection",
    component="optimizer",
    order=60,
    paper="Dozat 2016; arXiv 1910.05446",
)
class NAdamW(DecayedOptimizer):
    """AdamW with Nesterov's look-ahead in its momentum.

    Args:
        lr: Learning rate at its peak.
        weight_decay: Decoupled weight decay.
        beta1: Memory of the mean gradient.
        beta2: Memory of its square.
    """

    lr: Number = parameter(1e-3, 1e-4, 3e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True)
    beta1: Number = parameter(0.9, 0.8, 0.98)
    beta2: Number = parameter(0.999, 0.9, 0.999)

    def shared(self, p: float) -> Group:
        """Both memories; a warm-up that counts steps would be another one for every budget."""
        betas = (value(self.beta1, p), value(self.beta2, p))
        return {"betas": betas, "momentum_decay": FULL_NESTEROV, "decoupled_weight_decay": True}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """torch's own, over all parameters at once."""
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
    """Adam's direction, as long as a share of each tensor's own norm: for very large batches.

    Args:
        lr: That share at its peak.
        weight_decay: Weight decay, a part of the direction.
        beta1: Memory of the mean gradient.
        beta2: Memory of its square.
    """

    lr: Number = parameter(5e-3, 5e-4, 5e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True)
    beta1: Number = parameter(0.9, 0.8, 0.95)
    beta2: Number = parameter(0.999, 0.9, 0.999)

    def shared(self, p: float) -> Group:
        """Both memories.

        The norm makes up for the bias of young averages. Corrected once more, first steps were ten times as long.
        """
        betas = (value(self.beta1, p), value(self.beta2, p))
        return {"betas": betas, "weight_decouple": False, "adam_debias": True}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """The one of pytorch_optimizer."""
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
    """AdamW whose memories of large tensors take one byte a number instead of four.

    Args:
        lr: Learning rate at its peak.
        weight_decay: Decoupled weight decay.
        beta1: Memory of the mean gradient.
        beta2: Memory of its square.
    """

    lr: Number = parameter(1e-3, 1e-4, 3e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True)
    beta1: Number = parameter(0.9, 0.8, 0.95)
    beta2: Number = parameter(0.999, 0.9, 0.999)

    def shared(self, p: float) -> Group:
        """Both memories."""
        return {"betas": (value(self.beta1, p), value(self.beta2, p))}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """The one of torchao, its step not compiled: that takes longer than many a trial, and is not counted."""
        with _quiet():
            from torchao.optim import AdamW8bit as Made

        class Stepping(Made):  # type: ignore[misc]  # here, where torchao is there
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
    """Without what torchao says of kernels that fit other machines, and torch of torchao."""
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
