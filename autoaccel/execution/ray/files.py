"""Files on their way through the object store: as arrays of bytes, which it neither pickles nor copies twice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from autoaccel.storage.files import write_atomically

Bytes = NDArray[np.uint8]
PREFIX = "autoaccel-place-"
LOCK = ".lock"
YOUNG = 60.0
"""Seconds in which a folder may be new and not locked yet."""


def trial_folder(base: Path, trial: int) -> Path:
    """Return the folder of a trial in a run folder, or in that of a place."""
    return base / "trials" / f"{trial:04d}"


def read(path: Path) -> Bytes:
    """Return the bytes of a file."""
    return np.fromfile(path, np.uint8)


def packed(base: Path, paths: Iterable[Path]) -> dict[str, Bytes]:
    """Return the bytes of all files among paths and below them, by path relative to `base`; what is gone is not."""
    found = {}
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            with suppress(FileNotFoundError):
                if file.is_file() and not file.is_symlink():
                    found[file.relative_to(base).as_posix()] = read(file)
    return found


def unpack(base: Path, files: Mapping[str, Bytes]) -> None:
    """Write files to below a folder, each of them as a whole or not at all.

    Raises:
        StoreError: If one cannot be written.
    """
    for name, content in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.data)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for what is needed on this node only; what places that were killed have left there goes too."""
    made = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with FileLock(made / LOCK):
            _sweep(made)
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _sweep(made: Path) -> None:
    """Delete the folders beside a new one that nobody holds."""
    now = made.stat().st_mtime
    for old in made.parent.glob(f"{PREFIX}*"):
        with suppress(OSError, Timeout):
            if now - old.stat().st_mtime > YOUNG:
                with FileLock(old / LOCK, timeout=0):
                    shutil.rmtree(old, ignore_errors=True)
