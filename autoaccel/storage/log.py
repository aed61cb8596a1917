"""The log of a run: one line per started trial or event, with its time.

A resumed run replays it. A line that a crash left incomplete is dropped, and so is everything after it.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from autoaccel.core.codec import from_data, to_data
from autoaccel.core.events import Event, Finished, Interrupted, Measured, Profiled, Reported, Start, Tick
from autoaccel.errors import StoreError
from autoaccel.storage.folder import json_text
from autoaccel.storage.upgrade import upgraded

LogEntry = tuple[float, Event | Start]
"""Seconds since the start of the run, and the entry."""
KINDS: Mapping[str, type[Event | Start]] = MappingProxyType(
    {kind.__name__.lower(): kind for kind in (Start, Profiled, Reported, Finished, Measured, Interrupted, Tick)}
)


class Log:
    """An append-only file of events.

    Args:
        path: The file; created if missing.
    """

    def __init__(self, path: Path):
        self._path = path
        entries, whole = _read(path)
        self.entries = entries
        if path.exists() and path.stat().st_size > whole:
            os.truncate(path, whole)
        self._file = path.open("ab")

    def append(self, now: float, entry: Event | Start) -> None:
        """Append one entry and flush it to disk.

        Raises:
            StoreError: If the file cannot be written.
        """
        body = json_text([now, type(entry).__name__.lower(), to_data(entry)])
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


def read_log(path: Path) -> list[LogEntry]:
    """Return all intact entries of a log; empty if the file does not exist."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[LogEntry], int]:
    entries: list[LogEntry] = []
    whole = 0
    if not path.exists():
        return entries, whole
    for line in path.read_bytes().splitlines(keepends=True):
        crc, _, body = line.partition(b" ")
        checksum = zlib.crc32(body.removesuffix(b"\n"))
        if not line.endswith(b"\n") or crc != f"{checksum:08x}".encode():
            break
        now, kind, data = json.loads(body)
        entries.append((now, from_data(KINDS[kind], upgraded(kind, data))))
        whole += len(line)
    return entries, whole
