"""The run folder: its layout, its lock and atomic writes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autoaccel.core import checkpoints
from autoaccel.core.paths import is_file
from autoaccel.core.quantities import Cost, known
from autoaccel.core.target import split_target
from autoaccel.errors import StoreError, UsageError
from autoaccel.storage.loading import inference_lines

WEIGHTS = "model.safetensors"
LOG = "events.log"
"""The log of all events of a run."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file atomically: readers, even after a crash, see either the old or the new content.

    Raises:
        StoreError: If the file cannot be written.
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


def json_text(data: Any, indent: int | None = None) -> str:
    """Return data as JSON that every parser reads: a number that is not finite becomes null."""
    return json.dumps(_nulled(data), indent=indent, default=str, allow_nan=False)


def _nulled(data: Any) -> Any:
    if isinstance(data, float):
        return known(data)
    if isinstance(data, Mapping):
        return {key: _nulled(part) for key, part in data.items()}
    return [_nulled(part) for part in data] if isinstance(data, list | tuple) else data


class RunFolder:
    """A run's folder on disk, locked while open.

    Args:
        path: The folder.

    Raises:
        StoreError: If another process holds the lock, or the folder cannot be created.
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
        """Release the lock."""
        self._lock.release()

    def write_json(self, name: str, data: Mapping[str, Any]) -> Path:
        """Write a JSON file and return its path."""
        return self.write(name, json_text(data, indent=2) + "\n")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file and return its path."""
        path = self.path / name
        write_atomically(path, content)
        return path

    def weights(self, trial: int) -> Path:
        """Return the path of a trial's weights."""
        return self.path / "trials" / f"{trial:04d}" / WEIGHTS

    def deliver_weights(self, trial: int) -> bool:
        """Copy a trial's weights to the top of the run folder; return whether it has any."""
        source = self.weights(trial)
        if not source.exists():
            return False
        temporary = self.path / f".{WEIGHTS}.tmp"
        shutil.copyfile(source, temporary)
        temporary.replace(self.path / WEIGHTS)
        return True

    def drop_weights(self, keep: set[int]) -> None:
        """Delete the weights of all trials except those in `keep`."""
        for weights in self.path.glob(f"trials/*/{WEIGHTS}"):
            if int(weights.parent.name) not in keep:
                weights.unlink()

    def saved(self, trial: int) -> Cost:
        """Return what a trial had spent at its newest checkpoint; empty if it has none."""
        return checkpoints.saved(self.path / "trials" / f"{trial:04d}")

    def drop_checkpoints(self, keep: set[int]) -> None:
        """Delete the checkpoints of all trials except those in `keep`."""
        for folder in self.path.glob(f"trials/*/{checkpoints.FOLDER}"):
            if int(folder.parent.name) not in keep:
                checkpoints.drop(folder.parent)

    def has_log(self) -> bool:
        """Return whether the folder has an event log."""
        return (self.path / LOG).exists()

    def has_result(self) -> bool:
        """Return whether the folder has a result: the recipe and weights of a complete trial."""
        return (self.path / "result.json").exists()

    def remove(self) -> None:
        """Delete the folder, and an empty `runs` folder above it."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.parent.name == "runs" and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if the file is missing or damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def relocated(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return what a run has written about itself, as it is true for where its folder lies now.

    A folder that was moved has its files still inside. A model file that is gone may have moved along with it, as
    where a project was renamed.

    Args:
        data: The contents of `result.json` or `config.json`.
        path: The run folder.
    """
    old, new = data.get("folder", ""), path.resolve()
    if "load" in data:  # never what a file of a stranger says, since people copy and run it
        data = {**data, "load": inference_lines(new)}
    if not old or Path(old) == new:
        return dict(data)
    location, name = split_target(data.get("target", ""))
    if location.endswith(".py") and not is_file(Path(location)):
        beside = new / os.path.relpath(location, old)
        location = str(beside.resolve()) if is_file(beside) else location
    moved = {
        "folder": str(new),
        "target": f"{location}:{name}" if name else location,
        "paths": {file: str(new / file) for file in data.get("paths", ())},
    }
    return {**data, **{key: given for key, given in moved.items() if key in data}}


def is_finished(path: Path) -> bool:
    """Return whether the run in a folder is complete."""
    return read_json(path / "result.json").get("status") == "complete"


def _refuse_if_open(path: Path) -> None:
    """Tell who has a run open, before anybody is advised to go on with it."""
    if not (path / "lock").exists():
        return
    try:
        with FileLock(path / "lock", timeout=0):
            pass
    except Timeout:
        raise StoreError(f"{path} is in use by another process") from None


def choose_folder(out: Path | None, name: str, resume: bool) -> Path:
    """Return the run's folder: `out` if given, else `runs/NAME`, `runs/NAME-2` and so on.

    Raises:
        UsageError: If there is an unfinished run and `resume` is not set, or no run to resume.
        StoreError: If another process has that run open.
    """
    if out is not None:
        taken = (out / "config.json").exists()
        if taken and not resume:
            _refuse_if_open(out)
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
    if unfinished and latest:
        _refuse_if_open(latest)
        raise UsageError(f"{latest} holds an unfinished run; add --resume, or choose another folder with --out")
    return path
