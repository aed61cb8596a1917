"""Averages of the weights, which stand in for a shorter learning-rate decay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field

import torch
from torch import Tensor

from autoaccel.schedules import half_life_decay
from autoaccel.techniques.base import Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.weights import in_place_of


@technique(
    "ema",
    family="optimization",
    cell="model averaging",
    roles=("averages",),
    clashes=("averages",),
    # Entered first and left last: it averages weights that all others have finished with.
    order=5,
    paper="arXiv 1710.06953; arXiv 2407.20634",
)
class Ema(Technique):
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
        live = [p.detach() for p in context.model.parameters()]
        if [a.shape for a in self.average] != [p.shape for p in live]:
            self.average = [p.clone() for p in live]
        else:
            kept = half_life_decay(value(self.half_life, context.p), context.p - self.last)
            torch._foreach_lerp_(self.average, live, 1 - kept)
        self.last = context.p

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Put the average in place, with BatchNorm statistics of its own."""
        if not self.average:
            yield
            return
        with in_place_of(context, self.average, self.recalibrate):
            yield

    def state_dict(self) -> dict[str, object]:
        """The average and the progress at which it was last moved."""
        return {"average": self.average, "last": self.last}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take them back."""
        self.average, self.last = state["average"], state["last"]  # type: ignore[assignment]
