"""Tells the search when disk or memory become short, and when there is room again."""

from __future__ import annotations

from collections.abc import Callable

from autoaccel.core.clock import Clock
from autoaccel.core.events import Short

EVERY = 2.0
"""Seconds between two looks."""


class Room:
    """Looks at disk and memory.

    Args:
        floors: Returns why no new trial may start, or None; see `storage.space.Floors`.
        clock: Measures the seconds between two looks.
    """

    def __init__(self, floors: Callable[[], str | None], clock: Clock):
        self._floors, self._clock = floors, clock
        self._looked: float | None = None
        self._short = False

    def news(self) -> list[Short]:
        """Return an event if that has changed since the last call."""
        now = self._clock.now()
        if self._looked is not None and now - self._looked < EVERY:
            return []
        self._looked = now
        why = self._floors() or ""
        if bool(why) == self._short:
            return []
        self._short = bool(why)
        return [Short(why)]
