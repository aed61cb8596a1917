"""The only module that reads the time. All other code gets a `Clock` or a number of seconds."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Protocol

import psutil


class Clock(Protocol):
    """Measures elapsed seconds and sleeps."""

    def now(self) -> float:
        """Return the seconds since the clock's zero; they never decrease."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        ...


class SystemClock:
    """The machine's monotonic clock. Changes of the wall clock or the time zone do not affect it.

    Args:
        elapsed: Seconds to count as already elapsed, such as process start-up.
    """

    def __init__(self, elapsed: float = 0.0):
        self._zero = time.monotonic() - elapsed

    def now(self) -> float:
        """Return the seconds since the clock's zero."""
        return time.monotonic() - self._zero

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`; return at once if not positive."""
        if seconds > 0:
            time.sleep(seconds)


class SimulatedClock:
    """A clock that advances only on request, so that a simulated day takes no time."""

    def __init__(self, start: float = 0.0):
        self._now = start

    def now(self) -> float:
        """Return the simulated seconds elapsed."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Advance by `seconds` without waiting."""
        self._now += max(0.0, seconds)

    def advance_to(self, moment: float) -> None:
        """Advance to `moment`; do nothing if it is in the past."""
        self._now = max(self._now, moment)


LONGEST_START = 30.0
"""Seconds from the start of a process to the import of this file beyond which it was something else before, such as
the shell of `sh -c "prepare && autoaccel ..."`, which becomes its last command."""


def process_age() -> float:
    """Return the age of this process in seconds.

    From the clock that Linux dates processes by, where there is one: the wall clock may have been set since,
    and psutil knows the time of the boot in whole seconds only.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError):
        return max(0.0, time.time() - float(psutil.Process().create_time()))


def _before_start(age: float, computed: float) -> float:
    """Return how long a process was something else, given its age and CPU seconds as this file is imported."""
    return age - computed if age > LONGEST_START else 0.0


_BEFORE = _before_start(process_age(), time.process_time())


def seconds_since_process_start() -> float:
    """Return the age of this program, so that a budget can include interpreter start-up and imports."""
    return max(0.0, process_age() - _BEFORE)


def slowdown(seconds: float = 0.06) -> float:
    """Return how many times longer than its CPU time a computation takes now: on a busy machine it has to wait.

    Args:
        seconds: CPU seconds to compute for. A few milliseconds would end before others get their turn.
    """
    began, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < seconds:
        pass
    return max(1.0, (time.monotonic() - began) / seconds)


def timestamp() -> str:
    """Return the local date and time for display; no decision depends on it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
