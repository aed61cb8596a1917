"""What the driver and the places tell each other."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from autoaccel.core.resources import Resources
from autoaccel.errors import AutoaccelError, MachineError, TaskError, UsageError
from autoaccel.execution.ray.files import Bytes


class Said(NamedTuple):
    """What a place says.

    Args:
        kind: `ready`, `event`, `fetched` (a checkpoint), `answer`, `refused` (a measurement failed), `failed` (the
            place did) or `closed`.
        text: The rest as JSON.
        files: Files for the run folder, by relative path.
    """

    kind: str
    text: str
    files: Mapping[str, Bytes] = {}

    @property
    def data(self) -> Any:
        """The text, read."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Told:
    """What a place is told at its beginning.

    Args:
        target: The task's target; a file by its path on the driver's machine.
        root: The folder of the driver's machine that was sent to the nodes; empty if none was.
        cwd: The working directory of the driver.
        folder: The run folder.
        resources: The devices and settings of the workers.
        size: How many trials run side by side there.
        threads: CPU threads of each.
        most: CPU threads that one process may have at most.
        gpus: GPUs of the place.
        limit: Seconds in which the task must be loaded; None for no limit.
        versions: What must be the same everywhere, by name.
        files: References to files that the place needs, by path in its folder.
        pickled: Which of them is the pickled task; empty if none is.
    """

    target: str
    root: str
    cwd: str
    folder: str
    resources: Resources
    size: int
    threads: int
    most: int
    gpus: int
    limit: float | None
    versions: Mapping[str, str]
    files: Mapping[str, Any] = field(default_factory=dict)
    pickled: str = ""


class Inbox:
    """Commands in the order in which they were sent; Ray may deliver calls in another one."""

    def __init__(self) -> None:
        self._arrived: dict[int, tuple[Any, ...]] = {}
        self._next = 0
        self._news = threading.Condition()

    def put(self, number: int, command: tuple[Any, ...]) -> None:
        """Add the command with this number, from 0."""
        with self._news:
            self._arrived[number] = command
            self._news.notify()

    def take(self, timeout: float) -> list[tuple[Any, ...]]:
        """Return the next commands; wait up to `timeout` seconds for the first one."""
        with self._news:
            self._news.wait_for(lambda: self._next in self._arrived, timeout)
            taken = []
            while self._next in self._arrived:
                taken.append(self._arrived.pop(self._next))
                self._next += 1
            return taken


_ERRORS = {kind.__name__: kind for kind in (MachineError, TaskError, UsageError)}


def error_data(error: BaseException) -> dict[str, str]:
    """Return an error as plain data; one that is not ours is the machine's."""
    kind = next((name for name, each in _ERRORS.items() if isinstance(error, each)), MachineError.__name__)
    ours = isinstance(error, AutoaccelError)
    message = getattr(error, "message", str(error)) if ours else f"{type(error).__name__}: {error}"
    cause = str(error.__cause__ or "")
    return {"kind": kind, "message": message, "where": getattr(error, "where", None) or "", "cause": cause}


def error_of(data: Mapping[str, str], node: str = "") -> AutoaccelError:
    """Return the error that was made plain data.

    Args:
        data: What `error_data` has returned.
        node: The node that it comes from, for the message; empty if that does not matter.
    """
    message = f"{data['message']} (on {node})" if node else data["message"]
    error: AutoaccelError
    if data["kind"] == TaskError.__name__:
        error = TaskError(message, data["where"] or None)
    else:
        error = _ERRORS[data["kind"]](message)
    if data["cause"]:
        error.__cause__ = AutoaccelError(data["cause"])
    return error
