"""Shapes of the learning rate over progress: every one has arrived at its end when the budget has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from autoaccel.techniques.base import Context, Technique, parameter, technique

FIRST = 0.02
"""Share of the peak at which a warm-up begins: a rate of zero would waste the first steps."""


class LearningRate(Technique):
    """Base of the shapes: warm-up, then `after` on what is left of the progress."""

    warmup: float
    floor: float = 0.0

    def after(self, t: float) -> float:
        """Share of the peak at `t` in [0, 1], the progress since the end of the warm-up."""
        return 1.0

    def factor(self, p: float) -> float:
        """Share of the peak at progress `p`."""
        if p < self.warmup:
            return FIRST + (1 - FIRST) * p / self.warmup
        t = (p - self.warmup) / (1 - self.warmup)
        return self.floor + (1 - self.floor) * self.after(t)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Set the rate of every group."""
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
    """A straight line to zero.

    Args:
        warmup: Share of the budget in which the rate rises.
        floor: Share of the peak at the end.
    """

    warmup: float = parameter(0.05, 0.0, 0.25)
    floor: float = parameter(0.0, 0.0, 0.1)

    def after(self, t: float) -> float:
        """Share of the peak."""
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
    """Half a cosine wave to zero.

    Args:
        warmup: Share of the budget in which the rate rises.
        floor: Share of the peak at the end.
    """

    warmup: float = parameter(0.05, 0.0, 0.25)
    floor: float = parameter(0.0, 0.0, 0.1)

    def after(self, t: float) -> float:
        """Share of the peak."""
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
    """Reflected exponential: high for long, then a fast fall.

    Args:
        warmup: Share of the budget in which the rate rises.
        floor: Share of the peak at the end.
    """

    warmup: float = parameter(0.05, 0.0, 0.25)
    floor: float = parameter(0.0, 0.0, 0.1)

    def after(self, t: float) -> float:
        """Share of the peak."""
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
    """Warm-up, a constant stretch, then a cooldown that follows 1 - sqrt.

    Args:
        warmup: Share of the budget in which the rate rises.
        cooldown: Share of the budget in which it falls to zero.
    """

    warmup: float = parameter(0.05, 0.0, 0.25)
    cooldown: float = parameter(0.3, 0.1, 0.6)

    def after(self, t: float) -> float:
        """Share of the peak."""
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
    """A long rise to the peak, then a cosine fall to zero.

    Args:
        warmup: Progress at which the peak is reached.
    """

    warmup: float = parameter(0.3, 0.2, 0.45)

    def after(self, t: float) -> float:
        """Share of the peak."""
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
    """The same rate to the end.

    Args:
        warmup: Share of the budget in which the rate rises.
    """

    warmup: float = parameter(0.0, 0.0, 0.25)
