"""An executor of your own. Run: python examples/extending/executor.py

This one trains as the local one does, and appends every event to a file that a dashboard may follow. An executor
for a cluster has the same methods: see `autoaccel.execution.base`. `autoaccel.testing.check_executor` tests it.
"""

import json
from pathlib import Path
from typing import Any

from autoaccel import tune
from autoaccel.core.clock import Clock
from autoaccel.core.codec import to_data
from autoaccel.core.events import Event
from autoaccel.core.resources import Resources
from autoaccel.core.trial import TrialRequest
from autoaccel.execution.base import Executor
from autoaccel.execution.executors import local

DIGITS = str(Path(__file__).parents[1] / "digits.py")


class Followed:
    """Delegates to another executor.

    Args:
        inner: The wrapped executor.
        path: One JSON object a line is appended to this file.
    """

    def __init__(self, inner: Executor, path: Path):
        self._inner, self._path = inner, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def start(self, request: TrialRequest) -> None:
        """Begin a trial."""
        self._write("start", request)
        self._inner.start(request)

    def poll(self, timeout: float) -> list[Event]:
        """Wait for events."""
        events = self._inner.poll(timeout)
        for event in events:
            self._write(type(event).__name__.lower(), event)
        return events

    def _write(self, kind: str, value: object) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"kind": kind, "data": to_data(value)}) + "\n")


def followed(task: Any, resources: Resources, clock: Clock, folder: Path) -> Executor:
    """The factory that `tune` calls."""
    return Followed(local(task, resources, clock, folder), folder / "followed.jsonl")


if __name__ == "__main__":
    print(tune(DIGITS, "30s", executor=followed))
