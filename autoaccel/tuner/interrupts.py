"""Turn Ctrl-C and SIGTERM into a flag that a loop can check."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PATIENCE = 0.5
"""Longest wait for an event, in seconds, and so the delay before Ctrl-C is noticed."""


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C or SIGTERM arrived; the second raises KeyboardInterrupt."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    old = {}
    with suppress(ValueError):  # not in the main thread: the caller handles signals
        old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
