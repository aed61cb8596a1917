"""The run folder: its layout, its lock, and writes that are either whole or did not happen."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autoaccel.errors import StoreError, UsageError

WEIGHTS = "model.safetensors"
LOG = "events.log"
"""What happened in a run, from its first trial on."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one.

    Raises:
        StoreError: If the disk does not take it.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from None


class RunFolder:
    """One run on disk, held under a lock.

    Args:
        path: The folder.

    Raises:
        StoreError: If another process holds it, or it cannot be made.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path / "lock", timeout=0)
            self._lock.acquire()
        except Timeout:
            raise StoreError(f"{path} is in use by another process") from None
        except OSError as error:
            raise StoreError(f"{path}: cannot be used as a run folder: {error.strerror}") from None

    def close(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def write_json(self, name: str, data: Mapping[str, Any]) -> Path:
        """Write a JSON file; returns its path."""
        return self.write(name, json.dumps(data, indent=2, default=str) + "\n")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file; returns its path."""
        path = self.path / name
        write_atomically(path, content)
        return path

    def weights(self, trial: int) -> Path:
        """Where a trial leaves its weights."""
        return self.path / "trials" / f"{trial:04d}" / WEIGHTS

    def deliver_weights(self, trial: int) -> bool:
        """Make a trial's weights the run's; returns whether it had any."""
        source = self.weights(trial)
        if not source.exists():
            return False
        temporary = self.path / f".{WEIGHTS}.tmp"
        shutil.copyfile(source, temporary)
        temporary.replace(self.path / WEIGHTS)
        return True

    def drop_weights(self, keep: set[int]) -> None:
        """Delete the weights of all trials but some."""
        for weights in self.path.glob(f"trials/*/{WEIGHTS}"):
            if int(weights.parent.name) not in keep:
                weights.unlink()

    def has_log(self) -> bool:
        """Whether anything was begun here."""
        return (self.path / LOG).exists()

    def has_result(self) -> bool:
        """Whether a trial was completed here, so that there is a recipe and its weights."""
        return (self.path / "result.json").exists()

    def remove(self) -> None:
        """Delete the folder: nothing worth keeping was made."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.parent.name == "runs" and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's content, or nothing when it is missing or torn."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def is_finished(path: Path) -> bool:
    """Whether the run in a folder came to its end."""
    return read_json(path / "result.json").get("status") == "complete"


def choose_folder(out: Path | None, name: str, resume: bool) -> Path:
    """Where the run goes: the given folder, else `runs/NAME`, `runs/NAME-2` and so on.

    Raises:
        UsageError: If an unfinished run is in the way, or there is none to resume.
    """
    if out is not None:
        taken = (out / "config.json").exists()
        if taken and not resume:
            raise UsageError(f"{out} holds a run; add --resume to go on with it, or choose another --out")
        if resume and not taken:
            raise UsageError(f"{out} holds no run to resume")
        return out
    latest = None
    number = 1
    while (path := Path("runs") / (name if number == 1 else f"{name}-{number}")).exists():
        latest, number = path, number + 1
    unfinished = latest is not None and (latest / "config.json").exists() and not is_finished(latest)
    if resume:
        if latest is None or not unfinished:
            raise UsageError(f"no unfinished run in {Path('runs') / name} to resume")
        return latest
    if unfinished:
        raise UsageError(f"{latest} holds an unfinished run; add --resume, or choose another folder with --out")
    return path
