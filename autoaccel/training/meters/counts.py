"""Seconds, optimizer steps and samples."""

from __future__ import annotations

from typing import Any, ClassVar

from autoaccel.core.clock import Clock
from autoaccel.core.quantities import SECONDS
from autoaccel.training.meters.base import Meter


class SecondsMeter(Meter):
    """Measures wall-clock seconds.

    Args:
        clock: The clock to read.
        started: Time on the clock when the trial was requested.
    """

    quantity: ClassVar[str] = SECONDS
    shared: ClassVar[bool] = True

    def __init__(self, clock: Clock, started: float):
        self._clock, self._started = clock, started

    def read(self) -> float:
        """Return the seconds since the trial was requested."""
        return self._clock.now() - self._started


class CountMeter(Meter):
    """Base of the meters that add up whole numbers."""

    def __init__(self) -> None:
        self._count = 0

    def read(self) -> float:
        """Return the count so far."""
        return self._count

    def state_dict(self) -> dict[str, Any]:
        """Return the count so far."""
        return {"count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._count = state["count"]


class StepsMeter(CountMeter):
    """Counts optimizer steps."""

    quantity: ClassVar[str] = "steps"
    shared: ClassVar[bool] = True

    def step(self, samples: int) -> None:
        """Count a step."""
        self._count += 1


class SamplesMeter(CountMeter):
    """Counts the samples that gradients were computed on, repeated ones included."""

    quantity: ClassVar[str] = "samples"
    shared: ClassVar[bool] = True

    def step(self, samples: int) -> None:
        """Count the samples of a step."""
        self._count += samples
