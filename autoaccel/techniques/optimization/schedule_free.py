"""Schedule-Free: an average of the weights in place of a decaying learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from autoaccel.techniques.base import Context, Number, parameter, technique, value
from autoaccel.techniques.shared.groups import DecayedOptimizer, Group
from autoaccel.techniques.shared.weights import measured_on, recalibrated


@technique(
    "schedule_free",
    family="optimization",
    category="model averaging",
    component="optimizer",
    tags=("own_schedule", "averages"),
    # Masks do not reach the copy of the weights that it keeps and averages.
    # What it averages begins anew with every other set of parameters, and frozen ones would stay where they are.
    conflicts=(
        "anneals",
        "averages",
        "pulls_weights",
        "masks_weights",
        "freezes",
        "reshapes_weights",
        "skips_blocks",
    ),
    order=60,
    package="schedulefree",
    extra="optim",
    paper="arXiv 2405.15682",
)
class ScheduleFree(DecayedOptimizer):
    """AdamW that needs no decay of its learning rate: it trains near the average of its weights and delivers that.

    Args:
        lr: Learning rate after the warm-up; larger than AdamW's.
        weight_decay: Weight decay.
        beta1: Share of the average in the weights that gradients are taken at.
        beta2: Memory of the squared gradient.
        recalibrate: Training samples that BatchNorm statistics are measured on for the average.
    """

    lr: Number = parameter(2.5e-3, 5e-4, 5e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True)
    # Fixed: the average is found again from the weights by this number alone.
    beta1: float = parameter(0.9, 0.8, 0.98)
    beta2: Number = parameter(0.999, 0.9, 0.999)
    recalibrate: int = parameter(512, 128, 2048, log=True, integer=True)

    def setup(self, context: Context) -> None:
        """Begin, or begin anew: its groups count for all of their parameters, so new ones cannot join old ones."""
        if context.optimizer is not None:
            for state in context.optimizer.state.values():
                state.clear()
        super().setup(context)

    def shared(self, p: float) -> Group:
        """The average's share and the memory."""
        return {"betas": (self.beta1, value(self.beta2, p))}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """The authors' own, ready to train."""
        from schedulefree import AdamWScheduleFree

        made: torch.optim.Optimizer = AdamWScheduleFree(groups)
        cast(Any, made).train()
        return made

    def evaluation_samples(self, context: Context) -> int:
        """What BatchNorm statistics are measured on."""
        return measured_on(context, self.recalibrate)

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Put the average in place, with BatchNorm statistics of its own."""
        optimizer = cast(Any, context.optimizer)
        live = [p.detach() for p in context.model.parameters()]
        saved = [p.clone() for p in live]
        optimizer.eval()
        try:
            with recalibrated(context, self.recalibrate):
                yield
        finally:
            optimizer.train()
            # The way there and back rounds.
            torch._foreach_copy_(live, saved)
