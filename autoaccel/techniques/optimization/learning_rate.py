"""Learning rate schedules over progress: each reaches its end when the budget is spent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from autoaccel.techniques.base import Context, Technique, parameter, technique

FIRST = 0.02
"""Share of the peak at which a warm-up starts: a learning rate of zero would waste the first steps."""


class LearningRate(Technique):
    """Base class of the schedules: a linear warm-up, then `after` over the remaining progress."""

    warmup: float
    floor: float = 0.0

    def after(self, t: float) -> float:
        """Return the share of the peak at `t` in [0, 1], the share of the progress after the warm-up."""
        return 1.0

    def factor(self, p: float) -> float:
        """Return the share of the peak at progress `p`."""
        if p < self.warmup:
            return FIRST + (1 - FIRST) * p / self.warmup
        t = (p - self.warmup) / (1 - self.warmup)
        return self.floor + (1 - self.floor) * self.after(t)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Set the learning rate of every parameter group."""
        factor = self.factor(context.p) * context.lr_factor
        for group in context.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * group.get("lr_scale", 1.0) * factor
        yield


@technique(
    "linear",
    family="optimization",
    category="learning rate selection",
    component="learning_rate",
    tags=("anneals",),
    order=62,
    paper="arXiv 1905.04753",
)
class Linear(LearningRate):
    """Decay the learning rate linearly, to zero by default.

    Args:
        warmup: Share of the budget in which the learning rate rises.
        floor: Final learning rate as a share of the peak.
    """

    warmup: float = parameter(0.05, 0.0, 0.25)
    floor: float = parameter(0.0, 0.0, 0.1)

    def after(self, t: float) -> float:
        """Return 1 - t."""
        return 1 - t


@technique(
    "cosine",
    family="optimization",
    category="learning rate selection",
    component="learning_rate",
    tags=("anneals",),
    order=62,
    paper="arXiv 1608.03983",
)
class Cosine(LearningRate):
    """Decay the learning rate along half a cosine wave, to zero by default.

    Args:
        warmup: Share of the budget in which the learning rate rises.
        floor: Final learning rate as a share of the peak.
    """

    warmup: float = parameter(0.05, 0.0, 0.25)
    floor: float = parameter(0.0, 0.0, 0.1)

    def after(self, t: float) -> float:
        """Return half a cosine wave from 1 to 0."""
        return 0.5 * (1 + math.cos(math.pi * t))


@technique(
    "rex",
    family="optimization",
    category="learning rate selection",
    component="learning_rate",
    tags=("anneals",),
    order=62,
    paper="arXiv 2107.04197",
)
class Rex(LearningRate):
    """Decay the learning rate as a reflected exponential: slowly at first, then fast.

    Args:
        warmup: Share of the budget in which the learning rate rises.
        floor: Final learning rate as a share of the peak.
    """

    warmup: float = parameter(0.05, 0.0, 0.25)
    floor: float = parameter(0.0, 0.0, 0.1)

    def after(self, t: float) -> float:
        """Return (1 - t) / (1 - t / 2)."""
        return (1 - t) / (1 - t / 2)


@technique(
    "wsd",
    family="optimization",
    category="learning rate selection",
    component="learning_rate",
    tags=("anneals",),
    order=62,
    paper="arXiv 2405.18392",
)
class Wsd(LearningRate):
    """Warm up, hold the learning rate constant, then cool down to zero as 1 - sqrt.

    Args:
        warmup: Share of the budget in which the learning rate rises.
        cooldown: Share of the budget in which the learning rate falls to zero.
    """

    warmup: float = parameter(0.05, 0.0, 0.25)
    cooldown: float = parameter(0.3, 0.1, 0.6)

    def after(self, t: float) -> float:
        """Return 1 before the cooldown, then 1 - sqrt(elapsed share of the cooldown)."""
        length = min(1.0, self.cooldown / (1 - self.warmup))
        return 1.0 if t <= 1 - length else 1 - math.sqrt((t - 1 + length) / length)


@technique(
    "one_cycle",
    family="optimization",
    category="learning rate selection",
    component="learning_rate",
    tags=("anneals",),
    order=62,
    paper="arXiv 1708.07120",
)
class OneCycle(LearningRate):
    """Raise the learning rate slowly to its peak, then decay it along a cosine to zero.

    Args:
        warmup: Progress at which the peak is reached.
    """

    warmup: float = parameter(0.3, 0.2, 0.45)

    def after(self, t: float) -> float:
        """Return half a cosine wave from 1 to 0."""
        return 0.5 * (1 + math.cos(math.pi * t))


@technique(
    "constant",
    family="optimization",
    category="learning rate selection",
    component="learning_rate",
    order=62,
    paper="torch's default",
)
class Constant(LearningRate):
    """Keep the learning rate constant after an optional warm-up.

    Args:
        warmup: Share of the budget in which the learning rate rises.
    """

    warmup: float = parameter(0.0, 0.0, 0.25)
