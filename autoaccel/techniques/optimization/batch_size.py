"""Batch size, constant or growing with progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autoaccel.techniques.base import Context, Number, Technique, parameter, technique, value


@technique(
    "constant_batch",
    family="optimization",
    category="large batch size",
    component="batch_size",
    order=68,
    paper="arXiv 1811.03600",
)
class ConstantBatch(Technique):
    """Keep the batch size constant, or let it follow a schedule.

    Args:
        size: Samples per optimizer step.
    """

    size: Number = parameter(64, 16, 512, log=True, integer=True)

    def setup(self, context: Context) -> None:
        """Set the first batch size."""
        context.batch_size = round(value(self.size, 0.0))

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Set the size of the next batch after the step."""
        yield
        if not isinstance(self.size, int):
            context.batch_size = round(value(self.size, context.p))


@technique(
    "batch_ramp",
    family="optimization",
    category="large batch size",
    requires=("free_batches",),
    component="batch_size",
    order=68,
    paper="arXiv 1711.00489; arXiv 2510.14717",
)
class BatchRamp(Technique):
    """Grow the batch size with progress, and optionally scale the learning rate with it.

    Args:
        size: Samples per optimizer step at the start.
        growth: Ratio of the final batch size to the first.
        until: Progress at which the final batch size is reached.
        rule: How the learning rate scales with the batch size: not at all, with its square root, or linearly.
    """

    size: int = parameter(32, 8, 256, log=True, integer=True)
    growth: float = parameter(4.0, 1.0, 8.0)
    until: float = parameter(0.6, 0.3, 0.8)
    rule: str = parameter("none", options=("none", "sqrt", "linear"))

    def setup(self, context: Context) -> None:
        """Set the first batch size."""
        self._set(context, 0.0)

    def _set(self, context: Context, p: float) -> None:
        factor = 1 + (self.growth - 1) * min(1.0, p / self.until)
        context.batch_size = max(1, round(self.size * factor))
        power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[self.rule]
        context.lr_factor = (context.batch_size / self.size) ** power

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Set the size of the next batch after the step."""
        yield
        self._set(context, context.p)
