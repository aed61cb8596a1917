"""The log of a run: one line per started trial or event, with its time.

A resumed run replays it, so every line in it counts. Only a last line without an end, which a crash left behind, is
dropped. Any other damage stops whoever wants to write or replay; who only reads gets all lines that are whole.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from autoaccel.core.codec import from_data, to_data
from autoaccel.core.events import (
    Event,
    Extended,
    Finished,
    Interrupted,
    Measured,
    Profiled,
    Reported,
    Short,
    Start,
    Tick,
)
from autoaccel.errors import AutoaccelError, StoreError
from autoaccel.storage.files import guarded
from autoaccel.storage.json_files import json_text
from autoaccel.storage.upgrade import upgraded

LOG = "events.log"
LogEntry = tuple[float, Event | Start]
"""Seconds since the start of the run, and the entry."""
KINDS: Mapping[str, type[Event | Start]] = MappingProxyType(
    {
        kind.__name__.lower(): kind
        for kind in (Start, Profiled, Extended, Reported, Finished, Measured, Short, Interrupted, Tick)
    }
)


@dataclass(frozen=True)
class Scan:
    """What is in the file of a log.

    Args:
        path: The file.
        entries: The entries before the first damaged line: all, if there is none.
        size: Bytes of these entries.
        behind: The whole entries behind the first damaged line.
        fault: The number of the first damaged line and what is wrong with it; empty if there is none.
        torn: Bytes of a last line without an end.
    """

    path: Path
    entries: tuple[LogEntry, ...] = ()
    size: int = 0
    behind: tuple[LogEntry, ...] = ()
    fault: str = ""
    torn: int = 0

    @property
    def loss(self) -> str:
        """One line about the damage and what is behind it; empty if there is none."""
        if not self.fault:
            return ""
        finished = sum(isinstance(entry, Finished) for _, entry in self.behind)
        behind = f"whole entries behind it: {len(self.behind)}, of which ends of trials: {finished}"
        return f"{self.path}: {self.fault} ({behind})"

    @property
    def notes(self) -> list[str]:
        """What to tell someone who reads the log, one line each."""
        torn = [f"{self.path}: the last line was cut off by a crash and is left out"] if self.torn else []
        damaged = [f"{self.loss}; `autoaccel repair {self.path.parent}` mends it"] if self.fault else []
        return [*torn, *damaged]

    def replayable(self) -> list[LogEntry]:
        """Return the entries, all of which there must be for a replay.

        Raises:
            StoreError: If a line other than a torn last one is damaged.
        """
        if self.fault:
            raise StoreError(
                f"{self.loss}. The file was left as it is; `autoaccel repair {self.path.parent}` mends it"
            )
        return list(self.entries)


class Log:
    """An append-only file of events.

    Args:
        path: The file; created if missing. A torn last line is dropped.

    Raises:
        StoreError: If another line is damaged, or the file cannot be opened.
    """

    def __init__(self, path: Path):
        scan = scan_log(path)
        self._path, self.entries = path, scan.replayable()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
            os.ftruncate(self._file, scan.size)
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened: {error.strerror}") from None
        self._size = scan.size

    def append(self, now: float, entry: Event | Start) -> None:
        """Append one entry and flush it to disk.

        Raises:
            StoreError: If the file cannot be written; it is then as it was before.
        """
        line = written(now, entry)

        def write() -> None:
            try:
                rest = line
                while rest:
                    rest = rest[os.write(self._file, rest) :]
                os.fsync(self._file)
            except BaseException:
                os.ftruncate(self._file, self._size)
                raise

        guarded(self._path, write, len(line))
        self._size += len(line)
        self.entries.append((now, entry))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def written(now: float, entry: Event | Start) -> bytes:
    """Return the line of an entry: its checksum, time, kind and data."""
    body = json_text([now, type(entry).__name__.lower(), to_data(entry)])
    return f"{zlib.crc32(body.encode()):08x} {body}\n".encode()


def read_log(path: Path) -> list[LogEntry]:
    """Return all entries of a log but a torn last one; empty if the file does not exist.

    Raises:
        StoreError: If another line is damaged.
    """
    return scan_log(path).replayable()


def scan_log(path: Path) -> Scan:
    """Read a log, whatever is wrong with it; empty if the file does not exist.

    Raises:
        StoreError: If it cannot be read at all.
    """
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    *lines, torn = lines
    entries: list[LogEntry] = []
    behind: list[LogEntry] = []
    size, fault = 0, ""
    for number, line in enumerate(lines, 1):
        try:
            entry = parsed(line)
        except ValueError as error:
            fault = fault or f"line {number} is damaged: {error}"
            continue
        (behind if fault else entries).append(entry)
        size += 0 if fault else len(line) + 1
    return Scan(path, tuple(entries), size, tuple(behind), fault, len(torn))


def is_whole(line: bytes | bytearray) -> bool:
    """Return whether a line, without its end, has the checksum that it begins with."""
    crc, _, body = line.partition(b" ")
    return crc == f"{zlib.crc32(body):08x}".encode()


def parsed(line: bytes) -> LogEntry:
    """Return the entry of a line without its end.

    Raises:
        ValueError: If it is not one.
    """
    if not is_whole(line):
        raise ValueError("its checksum is wrong")
    try:
        now, kind, data = json.loads(line.partition(b" ")[2])
        return float(now), from_data(KINDS[kind], upgraded(kind, data))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, AutoaccelError):
        raise ValueError("it holds no event of this version") from None
