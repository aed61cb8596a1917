"""The table of faults that are done to other tuners.

Each fault is a function for a process of its own. It works in an empty folder, does its fault to a tuner as a user
would set it up, and returns whether the promise was kept, and what was seen. Options are the tuner's defaults
unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Run = Callable[[], tuple[bool, str]]


class Fault(NamedTuple):
    """A row of the table: its number, what is promised there, and the function that does it."""

    row: int
    promise: str
    run: Run


FAULTS: dict[str, Fault] = {}


def fault(row: int, promise: str) -> Callable[[Run], Run]:
    """Put a function into the table by its name."""

    def add(function: Run) -> Run:
        FAULTS[function.__name__] = Fault(row, promise, function)
        return function

    return add
