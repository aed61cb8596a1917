"""Schedule-Free: weight averaging instead of learning rate decay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from autoaccel.techniques.base import Context, Number, parameter, technique, value
from autoaccel.techniques.shared.frozen import trained
from autoaccel.techniques.shared.gradients import as_real
from autoaccel.techniques.shared.groups import DecayedOptimizer, Group
from autoaccel.techniques.shared.weights import measured_on, recalibrated


@technique(
    "schedule_free",
    family="optimization",
    category="model averaging",
    component="optimizer",
    tags=("own_schedule", "averages"),
    # Masks do not reach the copy of the weights that it keeps and averages.
    # The average restarts whenever the set of parameters changes, and frozen ones would not be averaged.
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
    """Optimize with Schedule-Free AdamW: average the weights instead of decaying the learning rate.

    Gradients are taken near the average, and the average is evaluated and delivered.

    Args:
        lr: Learning rate after the warm-up; larger than AdamW's.
        weight_decay: Weight decay.
        beta1: Share of the average in the weights at which gradients are taken.
        beta2: Decay rate of the mean squared gradient.
        recalibrate: Number of training samples for measuring the average's BatchNorm statistics.
    """

    lr: Number = parameter(2.5e-3, 5e-4, 5e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True, least=0.0)
    # Not a schedule: the average is recovered from the weights with the current beta1 alone.
    beta1: float = parameter(0.9, 0.8, 0.98)
    beta2: Number = parameter(0.999, 0.9, 0.999)
    recalibrate: int = parameter(512, 128, 2048, log=True, integer=True)

    def setup(self, context: Context) -> None:
        """Build the optimizer without any earlier state.

        Each group has one step count for all of its parameters, so new parameters cannot join old ones.
        """
        if context.optimizer is not None:
            for state in context.optimizer.state.values():
                state.clear()
        super().setup(context)

    def shared(self, p: float) -> Group:
        """Return the betas at progress `p`."""
        return {"betas": (self.beta1, value(self.beta2, p))}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Build the authors' optimizer in train mode."""
        from schedulefree import AdamWScheduleFree

        made: torch.optim.Optimizer = AdamWScheduleFree(groups)
        cast(Any, made).train()
        return made

    def evaluation_samples(self, context: Context) -> int:
        """Return the number of training samples used to measure BatchNorm statistics."""
        return measured_on(context, self.recalibrate)

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Evaluate the average, with its own BatchNorm statistics."""
        optimizer = cast(Any, context.optimizer)
        live = trained(context.model)
        saved = [p.detach().clone() for p in live]
        with as_real(live):
            optimizer.eval()
        try:
            with recalibrated(context, self.recalibrate):
                yield
        finally:
            with as_real(live):
                optimizer.train()
            # Switching to the average and back rounds the weights.
            torch._foreach_copy_([p.detach() for p in live], saved)
