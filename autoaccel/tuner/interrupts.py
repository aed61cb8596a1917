"""Turn Ctrl-C and the signals that end a process into a value that a loop can look at.

A handler only notes the signal: work done in one may come in the middle of anything.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from autoaccel.core.events import Interrupted

PATIENCE = 0.5
"""Longest wait for an event, in seconds, and so the delay before a signal is noticed."""
TAKEN_AWAY = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals with which a machine is taken away, by a scheduler or with the terminal."""


LEFT = 130
"""Exit code of a command that Ctrl-C has ended."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end by another signal than Ctrl-C."""


class Interrupts:
    """The signals that have arrived.

    Attributes:
        presses: How often Ctrl-C was pressed.
        terminated: Whether another signal has asked the process to end.
    """

    def __init__(self) -> None:
        self.presses = 0
        self.terminated = False

    def __call__(self) -> Interrupted | None:
        """Return how the run was asked to end; None if it was not."""
        at_once = self.terminated or self.presses > 1
        return Interrupted(preempted=at_once) if at_once or self.presses else None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; the third Ctrl-C raises KeyboardInterrupt."""
        if number != signal.SIGINT:
            self.terminated = True
            return
        self.presses += 1
        if self.presses > 2:
            raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Note signals instead of letting them end the process. SIGHUP that is ignored, as under nohup, stays so."""
    asked, old = Interrupts(), {}
    with suppress(ValueError):  # not in the main thread: the caller handles signals
        old = {number: signal.signal(number, asked.note) for number in _handled()}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def end_at_signals() -> None:
    """Let the first signal raise KeyboardInterrupt, or `Terminated`, where nothing else notes it; for a command.

    Further ones would cut off the clean-up, but for the third Ctrl-C, which leaves at once.
    """
    asked = Interrupts()

    def end(number: int, frame: FrameType | None) -> None:
        first = asked() is None
        try:
            asked.note(number, frame)
        except KeyboardInterrupt:
            os._exit(LEFT)  # processes that were started end with this one
        if first:
            raise Terminated if asked.terminated else KeyboardInterrupt

    for number in _handled():
        signal.signal(number, end)


def _handled() -> list[int]:
    # A shell without job control lets what it starts in the background ignore SIGINT; who sends it means it.
    heard = [number for number in TAKEN_AWAY if signal.getsignal(number) is not signal.SIG_IGN]
    return [signal.SIGINT, *heard]
