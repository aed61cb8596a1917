"""The only door to time. Everything else is given a `Clock` or a number of seconds."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Protocol

import psutil


class Clock(Protocol):
    """A reading of elapsed seconds and a way to let them pass."""

    def now(self) -> float:
        """Seconds since the clock's zero; never runs backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """The machine's monotonic clock. Changes of the wall clock and time zones do not move it.

    Args:
        elapsed: Seconds that count as already passed, such as the start of the process.
    """

    def __init__(self, elapsed: float = 0.0):
        self._zero = time.monotonic() - elapsed

    def now(self) -> float:
        """Seconds since the clock's zero."""
        return time.monotonic() - self._zero

    def sleep(self, seconds: float) -> None:
        """Sleep; a negative number returns at once."""
        if seconds > 0:
            time.sleep(seconds)


class SimulatedClock:
    """A clock that moves only when told to: a day's test runs at once."""

    def __init__(self, start: float = 0.0):
        self._now = start

    def now(self) -> float:
        """The simulated seconds that have passed."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on by `seconds` at once."""
        self._now += max(0.0, seconds)

    def advance_to(self, moment: float) -> None:
        """Move on to `moment`; never back."""
        self._now = max(self._now, moment)


def seconds_since_process_start() -> float:
    """How long this process has lived, so that a budget can include interpreter start and imports."""
    return max(0.0, time.time() - float(psutil.Process().create_time()))


def timestamp() -> str:
    """The local date and time, for people; no decision depends on it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
