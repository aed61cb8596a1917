"""A clock of processor seconds that goes slower when the machine does.

Processor seconds leave out the time in which others run, but not what others do to caches and to shared cores:
under load, small models took up to twice the seconds for the same work. Recipes that are recorded one after the
other over an hour would be compared at different costs.
"""

import time
from collections import deque
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F

from autoaccel import Task
from autoaccel.core.clock import SystemClock

WINDOW = 9
"""Measurements whose median is the machine's present speed."""
SHARE = 0.06
"""Most of the time that measuring may take; it is not part of the clock's seconds."""
FIRST = 1.0
"""Seconds over which the speed is measured that defines a second."""


def reference(task: Task) -> Callable[[], None]:
    """Return some work of the kind that a task's trainings do: gradients of 64 samples in the task's own model."""
    model, (x, y) = task.model().eval(), task.train

    def work() -> None:
        with torch.inference_mode(False), torch.enable_grad():
            output = model(x[:64])
            F.cross_entropy(output.flatten(0, -2), y[:64].flatten()).backward()
        model.zero_grad()

    return work


class SteadyClock(SystemClock):
    """Processor seconds of this process, each scaled by how long the same work takes just now.

    Args:
        work: What is measured again and again.
        nominal: Processor seconds of the work that count as that many seconds; measured now if None.
    """

    def __init__(self, work: Callable[[], None], nominal: float | None = None):
        self._work, self._recent = work, deque[float](maxlen=WINDOW)
        self._measure()
        first = [self._measure() for _ in range(max(WINDOW, int(FIRST / self._measure())))]
        self.nominal = nominal or median(first)
        self._every = self.nominal / SHARE
        self._seconds, self._last = 0.0, time.process_time()
        self._measured = self._last

    def now(self) -> float:
        """Return the scaled processor seconds since this clock was made."""
        used = time.process_time()
        self._seconds += (used - self._last) * self.nominal / median(self._recent)
        if used - self._measured > self._every:
            self._measure()
            used = self._measured = time.process_time()
        self._last = used
        return self._seconds

    def _measure(self) -> float:
        before = time.process_time()
        self._work()
        self._recent.append(time.process_time() - before)
        return self._recent[-1]
