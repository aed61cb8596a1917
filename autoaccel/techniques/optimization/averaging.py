"""Averages of the weights: judged in their place, which stands in for a shorter decay, or pulled towards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field

import torch
from torch import Tensor, nn

from autoaccel.core.schedules import half_life_decay
from autoaccel.techniques.base import Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.weights import in_place_of, measured_on


class Averaging(Technique):
    """Base of the averages that are judged and delivered instead of the weights."""

    recalibrate: int

    def mean(self) -> list[Tensor]:
        """One tensor for each of the model's parameters, or none as long as there is no average."""
        raise NotImplementedError

    def evaluation_samples(self, context: Context) -> int:
        """What BatchNorm statistics are measured on."""
        return measured_on(context, self.recalibrate)

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Put the average in place, with BatchNorm statistics of its own."""
        mean = self.mean()
        if not mean:
            yield
            return
        with in_place_of(context, mean, self.recalibrate):
            yield


def _weights(model: nn.Module) -> list[Tensor]:
    return [p.detach() for p in model.parameters()]


def _alike(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether shapes are the same: surgery on the model ends an average, and another one begins."""
    return [t.shape for t in some] == [t.shape for t in others]


@technique(
    "ema",
    family="optimization",
    category="model averaging",
    tags=("averages",),
    conflicts=("averages",),
    # Entered first and left last: it averages weights that all others have finished with.
    order=5,
    paper="arXiv 1710.06953; arXiv 2407.20634",
)
class Ema(Averaging):
    """Judge and deliver an exponential average of the weights.

    Args:
        half_life: Progress after which an old value counts half.
        start: Progress at which averaging begins.
        recalibrate: Training samples that BatchNorm statistics are measured on for the average.
    """

    half_life: Number = parameter(0.02, 0.002, 0.1, log=True)
    start: float = parameter(0.1, 0.0, 0.5)
    recalibrate: int = parameter(512, 128, 2048, log=True, integer=True)
    average: list[Tensor] = field(init=False, default_factory=list, repr=False)
    last: float = field(init=False, default=0.0, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Move the average towards the new weights."""
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
        """The average as it is."""
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
    """Judge and deliver the plain mean of the weights of the last stretch.

    Args:
        start: Progress at which averaging begins.
        every: Progress between two weights that are averaged.
        recalibrate: Training samples that BatchNorm statistics are measured on for the average.
    """

    start: float = parameter(0.75, 0.5, 0.9)
    every: float = parameter(0.01, 0.002, 0.05, log=True)
    recalibrate: int = parameter(512, 128, 2048, log=True, integer=True)
    average: list[Tensor] = field(init=False, default_factory=list, repr=False)
    count: int = field(init=False, default=0, repr=False)
    next: float = field(init=False, default=0.0, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Add the new weights from time to time."""
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
        """The average as it is."""
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
    """Judge and deliver the mean of the latest few checkpoints, which are kept in memory.

    Args:
        latest: How many checkpoints are averaged.
        every: Progress between two checkpoints.
        recalibrate: Training samples that BatchNorm statistics are measured on for the average.
    """

    latest: int = parameter(5, 3, 8, integer=True)
    every: float = parameter(0.02, 0.005, 0.05, log=True)
    recalibrate: int = parameter(512, 128, 2048, log=True, integer=True)
    checkpoints: list[list[Tensor]] = field(init=False, default_factory=list, repr=False)
    next: float = field(init=False, default=0.0, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Keep a copy from time to time, and drop the oldest."""
        yield
        live = _weights(context.model)
        if self.checkpoints and not _alike(self.checkpoints[-1], live):
            self.checkpoints, self.next = [], 0.0
        # The first steps are too near to where it all began.
        if context.p >= max(self.next, self.every):
            self.checkpoints = [*self.checkpoints, [p.clone() for p in live]][-self.latest :]
            self.next = context.p + self.every

    def mean(self) -> list[Tensor]:
        """Of all that are kept."""
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
    # Its pull comes before masks are put on again, and before an average takes the weights.
    order=58,
    paper="arXiv 1907.08610; arXiv 2404.00498",
)
class Lookahead(Technique):
    """From time to time, pull the weights back to a slow copy of them, ever harder as training goes on.

    Args:
        every: Progress between two pulls.
        strength: What is left of the slow copy at the last pull; it grows with the third power of progress.
    """

    every: float = parameter(0.005, 0.001, 0.02, log=True)
    strength: float = parameter(0.77, 0.3, 0.95)
    slow: list[Tensor] = field(init=False, default_factory=list, repr=False)
    next: float = field(init=False, default=0.0, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Move the copy to the new weights, and the weights to where it then is."""
        if not self._fits(context.model):
            self.slow, self.next = [p.clone() for p in _trained(context.model)], context.p + self.every
        yield
        if context.p >= self.next and self._fits(context.model):
            live = _trained(context.model)
            torch._foreach_lerp_(self.slow, live, 1 - self.strength * context.p**3)
            torch._foreach_copy_(live, self.slow)
            self.next = context.p + self.every

    def _fits(self, model: nn.Module) -> bool:
        return _alike(self.slow, _trained(model))


def _trained(model: nn.Module) -> list[Tensor]:
    """Weights that move by training: frozen ones are not pulled."""
    return [p.detach() for p in model.parameters() if p.requires_grad]
