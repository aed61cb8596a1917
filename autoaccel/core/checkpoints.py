"""The checkpoints of a training on disk: a folder each, of which a crash leaves the one before.

    checkpoints/000007/state.pt        the state of the training
                       manifest.json   its size, its SHA-256, and what the training had spent

A checkpoint is written beside the others under another name, flushed to the disk, and renamed. Then all but the two
newest are deleted. What is in `state.pt` is read only if it has the size and the checksum of the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from autoaccel.core.paths import sync_folder
from autoaccel.core.quantities import Cost

FOLDER = "checkpoints"
STATE = "state.pt"
MANIFEST = "manifest.json"
SCHEMA = 1
GENERATIONS = 2
"""How many checkpoints of a training are kept."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Args:
        path: Its folder.
        spent: What the training had spent.
        size: Size of the state in bytes.
        digest: SHA-256 of the state, as hexadecimal digits.
    """

    path: Path
    spent: Cost
    size: int
    digest: str

    @property
    def state(self) -> Path:
        """The file with the state."""
        return self.path / STATE

    @property
    def intact(self) -> bool:
        """Whether the state is what was written."""
        try:
            if self.state.stat().st_size != self.size:
                return False
            with self.state.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.digest
        except OSError:
            return False


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints of a trial, the newest first, without those that were not written to their end.

    Args:
        folder: The trial's folder.
    """
    named = sorted((path for path in (folder / FOLDER).glob("[0-9]*") if path.name.isdigit()), reverse=True)
    return [found for path in named if (found := _read(path)) is not None]


def saved(folder: Path) -> Cost:
    """Return what a trial had spent at its newest checkpoint; empty if it has none."""
    return next((found.spent for found in checkpoints(folder)), Cost())


def write(folder: Path, spent: Cost, save: Callable[[IO[bytes]], None]) -> Checkpoint:
    """Write a checkpoint, then delete all but the newest ones.

    Args:
        folder: The trial's folder.
        spent: What the training has spent.
        save: Writes the state to a file, from its beginning to its end.

    Raises:
        OSError: If it cannot be written; the ones before are still there.
    """
    home = folder / FOLDER
    home.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(found.path.name) for found in checkpoints(folder)), default=0)
    path, temporary = home / f"{number:06d}", home / f".{number:06d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        with (temporary / STATE).open("xb") as file:
            counted = _Counted(file)
            save(counted)  # type: ignore[arg-type]  # of a file, only `write` and `flush` are needed
            _flush(file)
        made = Checkpoint(path, spent, counted.size, counted.digest.hexdigest())
        said = {"schema": SCHEMA, "spent": dict(spent), "size": made.size, "sha256": made.digest}
        with (temporary / MANIFEST).open("xb") as file:
            file.write(json.dumps(said).encode())
            _flush(file)
        sync_folder(temporary)
        temporary.replace(path)
        sync_folder(home)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    prune(folder)
    return made


def prune(folder: Path) -> None:
    """Delete all but the newest checkpoints of a trial."""
    for old in checkpoints(folder)[GENERATIONS:]:
        shutil.rmtree(old.path, ignore_errors=True)


def drop(folder: Path) -> None:
    """Delete all checkpoints of a trial."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


class _Counted:
    """A file that is written once from its beginning to its end, and its checksum."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size += len(memoryview(data).cast("B"))
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _read(path: Path) -> Checkpoint | None:
    try:
        said = json.loads((path / MANIFEST).read_bytes())
        if said["schema"] != SCHEMA:
            return None
        spent = Cost({str(name): float(amount) for name, amount in said["spent"].items()})
        return Checkpoint(path, spent, int(said["size"]), str(said["sha256"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
