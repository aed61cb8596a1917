"""Weight averaging: evaluate an average instead of the weights, or pull the weights towards it.

Evaluating an average substitutes for part of the learning rate decay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field

import torch
from torch import Tensor, nn

from autoaccel.core.schedules import half_life_decay
from autoaccel.techniques.base import Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.frozen import trained
from autoaccel.techniques.shared.weights import in_place_of, measured_on


class Averaging(Technique):
    """Base class of averages that are evaluated and delivered instead of the weights."""

    recalibrate: int

    def mean(self) -> list[Tensor]:
        """Return one tensor for each of the model's trained parameters, or an empty list if there is no average."""
        raise NotImplementedError

    def evaluation_samples(self, context: Context) -> int:
        """Return the number of training samples used to measure BatchNorm statistics."""
        return measured_on(context, self.recalibrate)

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Evaluate the average, with its own BatchNorm statistics."""
        mean = self.mean()
        if not mean:
            yield
            return
        with in_place_of(context, mean, self.recalibrate):
            yield


def _weights(model: nn.Module) -> list[Tensor]:
    """Return the weights that are averaged: those that the user froze stay as they are."""
    return [p.detach() for p in trained(model)]


def _alike(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Return whether all shapes match; they differ after model surgery, and a new average begins."""
    return [t.shape for t in some] == [t.shape for t in others]


@technique(
    "ema",
    family="optimization",
    category="model averaging",
    tags=("averages",),
    conflicts=("averages",),
    # Entered first and exited last: it averages the weights after all other techniques have changed them.
    order=5,
    paper="arXiv 1710.06953; arXiv 2407.20634",
)
class Ema(Averaging):
    """Evaluate and deliver an exponential moving average of the weights.

    Args:
        half_life: Progress after which an old value has half its weight.
        start: Progress at which averaging begins.
        recalibrate: Number of training samples for measuring the average's BatchNorm statistics.
    """

    half_life: Number = parameter(0.02, 0.002, 0.1, log=True)
    start: float = parameter(0.1, 0.0, 0.5)
    recalibrate: int = parameter(512, 128, 2048, log=True, integer=True)
    average: list[Tensor] = field(init=False, default_factory=list, repr=False)
    last: float = field(init=False, default=0.0, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Move the average towards the updated weights."""
        yield
        if context.p < self.start:
            return
        live = _weights(context.model)
        if not _alike(self.average, live):
            self.average = [p.clone() for p in live]
        else:
            kept = half_life_decay(value(self.half_life, context.p), context.p - self.last)
            torch._foreach_lerp_(self.average, live, 1 - kept)
        self.last = context.p

    def mean(self) -> list[Tensor]:
        """Return the current average."""
        return self.average


@technique(
    "swa",
    family="optimization",
    category="model averaging",
    tags=("averages",),
    conflicts=("averages",),
    order=5,
    paper="arXiv 1803.05407",
)
class Swa(Averaging):
    """Evaluate and deliver the mean of the weights over the last part of training.

    Args:
        start: Progress at which averaging begins.
        every: Progress between two updates of the mean.
        recalibrate: Number of training samples for measuring the average's BatchNorm statistics.
    """

    start: float = parameter(0.75, 0.5, 0.9)
    every: float = parameter(0.01, 0.002, 0.05, log=True)
    recalibrate: int = parameter(512, 128, 2048, log=True, integer=True)
    average: list[Tensor] = field(init=False, default_factory=list, repr=False)
    count: int = field(init=False, default=0, repr=False)
    next: float = field(init=False, default=0.0, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Add the updated weights to the mean at intervals of `every`."""
        yield
        live = _weights(context.model)
        if not _alike(self.average, live):
            self.average, self.count, self.next = [], 0, self.start
        if context.p < self.next:
            return
        self.count += 1
        if self.average:
            torch._foreach_lerp_(self.average, live, 1 / self.count)
        else:
            self.average = [p.clone() for p in live]
        self.next = context.p + self.every

    def mean(self) -> list[Tensor]:
        """Return the current average."""
        return self.average


@technique(
    "lawa",
    family="optimization",
    category="model averaging",
    tags=("averages",),
    conflicts=("averages",),
    order=5,
    paper="arXiv 2209.14981; arXiv 2306.03241",
)
class Lawa(Averaging):
    """Evaluate and deliver the mean of the latest few checkpoints, which are kept in memory.

    Args:
        latest: Number of checkpoints that are averaged.
        every: Progress between two checkpoints.
        recalibrate: Number of training samples for measuring the average's BatchNorm statistics.
    """

    latest: int = parameter(5, 3, 8, integer=True)
    every: float = parameter(0.02, 0.005, 0.05, log=True)
    recalibrate: int = parameter(512, 128, 2048, log=True, integer=True)
    checkpoints: list[list[Tensor]] = field(init=False, default_factory=list, repr=False)
    next: float = field(init=False, default=0.0, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Store a checkpoint at intervals of `every`, and drop the oldest."""
        yield
        live = _weights(context.model)
        if self.checkpoints and not _alike(self.checkpoints[-1], live):
            self.checkpoints, self.next = [], 0.0
        # The first steps are too close to the initial weights.
        if context.p >= max(self.next, self.every):
            self.checkpoints = [*self.checkpoints, [p.clone() for p in live]][-self.latest :]
            self.next = context.p + self.every

    def mean(self) -> list[Tensor]:
        """Return the mean of the stored checkpoints."""
        if not self.checkpoints:
            return []
        total = [p.clone() for p in self.checkpoints[0]]
        for checkpoint in self.checkpoints[1:]:
            torch._foreach_add_(total, checkpoint)
        torch._foreach_div_(total, len(self.checkpoints))
        return total


@technique(
    "lookahead",
    family="optimization",
    category="model averaging",
    tags=("pulls_weights",),
    conflicts=("pulls_weights",),
    # The pull comes before masks are applied again, and before an average takes the weights.
    order=58,
    paper="arXiv 1907.08610; arXiv 2404.00498",
)
class Lookahead(Technique):
    """Pull the weights back to a slow copy at intervals, more strongly as training goes on.

    Args:
        every: Progress between two pulls.
        strength: Weight of the slow copy in the pull at p = 1; it grows with the cube of progress.
    """

    every: float = parameter(0.005, 0.001, 0.02, log=True)
    strength: float = parameter(0.77, 0.3, 0.95)
    slow: list[Tensor] = field(init=False, default_factory=list, repr=False)
    next: float = field(init=False, default=0.0, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Interpolate the copy towards the updated weights, and set the weights to it."""
        if not self._fits(context.model):
            self.slow, self.next = [p.clone() for p in _moving(context.model)], context.p + self.every
        yield
        if context.p >= self.next and self._fits(context.model):
            live = _moving(context.model)
            torch._foreach_lerp_(self.slow, live, 1 - self.strength * context.p**3)
            torch._foreach_copy_(live, self.slow)
            self.next = context.p + self.every

    def _fits(self, model: nn.Module) -> bool:
        return _alike(self.slow, _moving(model))


def _moving(model: nn.Module) -> list[Tensor]:
    """Return the weights that are trained now; none that a technique holds is pulled."""
    return [p.detach() for p in model.parameters() if p.requires_grad]
