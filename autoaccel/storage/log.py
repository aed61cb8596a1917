"""The log of a run: what was started and what came back, a line each, with its time.

It is what a resumed run replays. A line that was torn by a crash is dropped.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

from autoaccel.core.events import Event, Finished, Interrupted, Profiled, Reported, Start, Tick
from autoaccel.core.trial import Outcome, Report, TaskFacts, TrialRequest
from autoaccel.errors import StoreError

Entry = tuple[float, Event | Start]


class Log:
    """An append-only file of events.

    Args:
        path: The file; made when missing.
    """

    def __init__(self, path: Path):
        self._path = path
        entries, whole = _read(path)
        self.entries = entries
        if path.exists() and path.stat().st_size > whole:
            os.truncate(path, whole)
        self._file = path.open("ab")

    def append(self, now: float, entry: Event | Start) -> None:
        """Write one entry to the disk.

        Raises:
            StoreError: If the disk does not take it.
        """
        body = json.dumps([now, *_to_data(entry)])
        try:
            self._file.write(f"{zlib.crc32(body.encode()):08x} {body}\n".encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be written: {error.strerror}") from None
        self.entries.append((now, entry))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> list[Entry]:
    """All whole entries of a log; empty when there is none."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[Entry], int]:
    entries: list[Entry] = []
    whole = 0
    if not path.exists():
        return entries, whole
    for line in path.read_bytes().splitlines(keepends=True):
        crc, _, body = line.partition(b" ")
        checksum = zlib.crc32(body.removesuffix(b"\n"))
        if not line.endswith(b"\n") or crc != f"{checksum:08x}".encode():
            break
        now, kind, data = json.loads(body)
        entries.append((now, _from_data(kind, data)))
        whole += len(line)
    return entries, whole


def _to_data(entry: Event | Start) -> tuple[str, Any]:
    match entry:
        case Start(request):
            return "start", request.to_data()
        case Profiled(facts, workers):
            return "profiled", {"facts": facts.to_data(), "workers": workers}
        case Reported(report):
            return "reported", report.to_data()
        case Finished(trial, outcome):
            return "finished", {"trial": trial, "outcome": outcome.to_data()}
        case Interrupted():
            return "interrupted", None
        case Tick():
            return "tick", None


def _from_data(kind: str, data: Any) -> Event | Start:
    match kind:
        case "start":
            return Start(TrialRequest.from_data(data))
        case "profiled":
            return Profiled(TaskFacts.from_data(data["facts"]), data["workers"])
        case "reported":
            return Reported(Report.from_data(data))
        case "finished":
            return Finished(data["trial"], Outcome.from_data(data["outcome"]))
        case "interrupted":
            return Interrupted()
        case _:
            return Tick()
