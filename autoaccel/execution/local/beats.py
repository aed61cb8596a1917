"""A worker's progress, counted in memory that it shares with the supervisor.

A beat takes a fifth of a microsecond. A worker beats because it gets on, never from a thread, so that one that
hangs does not.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import NamedTuple

from autoaccel.core.clock import Clock

CELLS = 3


class Counts(NamedTuple):
    """What a worker has counted.

    Args:
        beats: Everything it got on with.
        steps: Steps that it has begun.
        stepping: Whether it was last seen in a step, or fetching the batch behind it.
    """

    beats: int
    steps: int
    stepping: bool

    @property
    def begun(self) -> bool:
        """Whether its first step, which may compile, is behind it."""
        return self.steps > 1 or (self.steps == 1 and not self.stepping)


class Beats:
    """One worker's counters.

    Args:
        descriptor: The file descriptor of the shared memory; see `shared_memory`.
    """

    def __init__(self, descriptor: int):
        self._cells = memoryview(mmap.mmap(descriptor, CELLS * 8)).cast("Q")

    def read(self) -> Counts:
        """Return what was counted so far."""
        beats, steps, stepping = self._cells
        return Counts(beats, steps, bool(stepping))

    def beat(self) -> None:
        """Count that something ended: a stage of the set-up, a step, an evaluation."""
        self._cells[0] += 1
        self._cells[2] = 0

    def step(self) -> None:
        """Count that a step begins."""
        self._cells[0] += 1
        self._cells[1] += 1
        self._cells[2] = 1


class BeatingClock:
    """A clock that beats when it is read: a training reads it between two steps, and around evaluations.

    Args:
        clock: Measures the seconds.
        beats: Counts.
    """

    def __init__(self, clock: Clock, beats: Beats):
        self._clock = clock
        self._beats = beats

    def now(self) -> float:
        """Return the seconds since the clock's zero."""
        self._beats.beat()
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`."""
        self._clock.sleep(seconds)


def shared_memory() -> int:
    """Return the file descriptor of memory for `Beats`; on Linux no full disk can take it away."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("autoaccel")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, CELLS * 8)
    return descriptor
