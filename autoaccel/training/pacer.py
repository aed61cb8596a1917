"""Measure how long the steps of a training take, once what is slow only at its beginning is behind it."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import torch

from autoaccel.core.clock import Clock
from autoaccel.core.trial import WARMING
from autoaccel.training.loop import Keeper


class Pacer(Keeper):
    """Notes when steps begin.

    Args:
        clock: Measures the seconds.
        device: The device whose work a step waits for.
    """

    def __init__(self, clock: Clock, device: torch.device):
        self._clock, self._device = clock, device
        self._begun: list[float] = []

    def before_step(self) -> None:
        """Called before each step."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._begun.append(self._clock.now())

    @property
    def pace(self) -> float:
        """The median seconds of a step; 0 if too few were taken."""
        begun = self._begun[max(WARMING, len(self._begun) // 2) :]
        return median(after - before for before, after in pairwise(begun)) if begun[1:] else 0.0
