"""The run folder: its layout, its lock and its owner."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autoaccel.core import checkpoints
from autoaccel.core.clock import SystemClock
from autoaccel.core.paths import is_file
from autoaccel.core.quantities import Cost
from autoaccel.core.target import split_target
from autoaccel.errors import StoreError
from autoaccel.storage.delivery import RESULT, WEIGHTS, deliver, settle
from autoaccel.storage.files import write_atomically
from autoaccel.storage.json_files import json_text
from autoaccel.storage.loading import inference_lines
from autoaccel.storage.log import LOG
from autoaccel.storage.owner import Owner, read_owner
from autoaccel.storage.space import release, set_aside

NAMED_WITHIN = 2.0
"""Seconds in which a process that has taken the lock has written its name, on a busy machine too."""


class RunFolder:
    """A run's folder on disk, locked while open.

    Nothing outside of it is ever written: one that holds symbolic links is refused.

    Args:
        path: The folder.

    Raises:
        StoreError: If another process holds the lock, the folder cannot be created, or there is a link in it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._delivered: int | None = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            _refuse_links(path)
            self._lock = FileLock(path / "lock", timeout=0)
            self._lock.acquire()
        except Timeout:
            raise StoreError(f"{path} is in use by {holder(path)}") from None
        except OSError as error:
            raise StoreError(f"{path}: cannot be used as a run folder: {error.strerror}") from None
        try:
            self.write_json("owner.json", Owner.of_this_process().data())
            self.settled = settle(path)
            """Whether a delivery that a crash had cut off was finished."""
            set_aside(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the folder free for others."""
        if self._lock.is_locked:
            release(self.path)
            (self.path / "owner.json").unlink(missing_ok=True)
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

    def deliver(self, data: Mapping[str, Any], recipe: str, trial: int) -> dict[str, Any]:
        """Deliver a trial's weights with its recipe and result; return the contents of `result.json`.

        Args:
            data: The contents of `result.json`; with `weights`, what it says of them, if those that lie there stay.
            recipe: The contents of `recipe.yaml`.
            trial: The trial's number. Of one that has no weights, the result says that they are missing.
        """
        source = self.weights(trial)
        if "weights" in data or trial == self._delivered or not source.exists():
            return deliver(self.path, data, recipe, trial)
        made = deliver(self.path, data, recipe, trial, source)
        self._delivered = trial
        return made

    def drop_weights(self, keep: Set[int]) -> None:
        """Delete the weights of all trials except those in `keep`."""
        for weights in self.path.glob(f"trials/[0-9]*/{WEIGHTS}"):
            if weights.parent.name.isdecimal() and int(weights.parent.name) not in keep:
                weights.unlink(missing_ok=True)

    def saved(self, trial: int) -> Cost:
        """Return what a trial had spent at its newest checkpoint; empty if it has none."""
        return checkpoints.saved(self.path / "trials" / f"{trial:04d}")

    def drop_checkpoints(self, keep: set[int]) -> None:
        """Delete the checkpoints of all trials except those in `keep`."""
        for folder in self.path.glob(f"trials/[0-9]*/{checkpoints.FOLDER}"):
            if folder.parent.name.isdecimal() and int(folder.parent.name) not in keep:
                checkpoints.drop(folder.parent)

    def has_checkpoint(self) -> bool:
        """Return whether a training can be gone on with."""
        found = self.path.glob(f"trials/[0-9]*/{checkpoints.FOLDER}")
        return any(checkpoints.checkpoints(folder.parent) for folder in found)

    def has_log(self) -> bool:
        """Return whether the folder has an event log."""
        return (self.path / LOG).exists()

    def has_result(self) -> bool:
        """Return whether the folder has a result: the recipe and weights of a complete trial."""
        return (self.path / RESULT).exists()

    def remove(self) -> None:
        """Delete the folder, and an empty `runs` folder above it."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.parent.name == "runs" and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def _refuse_links(path: Path) -> None:
    """Refuse what would lead our writes out of the folder; the folder itself may be reached by a link."""
    for place, folders, files in os.walk(path):
        for name in (*folders, *files):
            if (found := Path(place, name)).is_symlink():
                raise StoreError(f"{found} is a symbolic link, and a run folder holds none; remove it")


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


def holder(path: Path) -> str:
    """Return who holds a folder's lock; its name replaces that of a dead one a moment after it took the lock."""
    clock = SystemClock()
    while (owner := read_owner(path)) is None or not owner.alive:
        if clock.now() > NAMED_WITHIN:
            return "another process"
        clock.sleep(0.02)
    return str(owner)
