"""The plan, as a run shows it."""

from __future__ import annotations

from collections.abc import Sequence

from autoaccel.core.events import Event, Start
from autoaccel.reporting.terminal import Display
from autoaccel.search.base import Search


class PlanFirst:
    """Shows the plan of a search, and again when it changes, then passes everything on to the display.

    Args:
        view: The display.
        search: The search.
        before: Lines to show before the first plan.
        after: Lines to show behind it.
    """

    def __init__(self, view: Display, search: Search, before: Sequence[str], after: Sequence[str]):
        self._view, self._search, self._before, self._after = view, search, before, after
        self._shown: list[str] | None = None

    def handle(self, entry: Event | Start, now: float) -> None:
        """See `Listener`."""
        self._show_plan()
        self._view.handle(entry, now)

    def tick(self, now: float) -> None:
        """See `Listener`."""
        self._show_plan()
        self._view.tick(now)

    def _show_plan(self) -> None:
        plan = self._search.describe()
        if plan != self._shown:
            first = self._shown is None
            self._shown = plan
            self._view.plan([*self._before, *plan, *self._after] if first else plan)
