"""The process that a run folder belongs to while it is open, for others to see: the lock alone tells no names."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from autoaccel.core.codec import from_data
from autoaccel.errors import StoreError
from autoaccel.storage.json_files import read_object


@dataclass(frozen=True)
class Owner:
    """A process of some machine.

    Args:
        process: Its number.
        host: The machine's name.
        started: When it started, which tells it from a later process of the same number.
    """

    process: int
    host: str
    started: float

    @classmethod
    def of_this_process(cls) -> Owner:
        """Return this process."""
        return cls(os.getpid(), socket.gethostname(), psutil.Process().create_time())

    def data(self) -> dict[str, Any]:
        """Return the contents of `owner.json`."""
        return asdict(self)

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine, so that `alive` can be known."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it still runs; one of another machine is taken to."""
        if not self.here:
            return True
        try:
            found = psutil.Process(self.process)
            same = abs(float(found.create_time()) - self.started) < 1.0
            return same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def read_owner(folder: Path) -> Owner | None:
    """Return who has a run folder open, or had when it was killed; None if nobody, or if it cannot be told."""
    try:
        data = read_object(folder / "owner.json")
        return from_data(Owner, data) if data else None
    except (StoreError, ValueError):
        return None
