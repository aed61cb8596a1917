"""Room on the disk and in memory: below a floor no new trial starts, and the last writes have space set aside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from autoaccel.core.control_group import available_memory

MIB = 1 << 20
SET_ASIDE = 32 * MIB
"""Bytes of a file that does nothing but keep room for the last writes: report, study, recipe and result."""
RESERVE = ".reserve"
DISK_FLOOR = 128 * MIB
"""Free bytes on the disk below which no new trial starts; room for the weights of trials comes on top."""
MEMORY_FLOOR = 256 * MIB
"""Bytes of memory that a process can still get, below which no new trial starts."""
COPIES = 3
"""Times that the delivered weights fit in: those of a trial, its delivered copy, and the copy that is replaced."""


def set_aside(folder: Path) -> None:
    """Take the space for the last writes, as far as the disk has it."""
    path = folder / RESERVE
    with suppress(OSError):
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SET_ASIDE)
        except OSError:
            path.unlink()
        finally:
            os.close(descriptor)


def release(folder: Path) -> bool:
    """Give that space back; return whether there was any."""
    with suppress(OSError):
        (folder / RESERVE).unlink()
        return True
    return False


def free_disk(folder: Path) -> int:
    """Return the free bytes of a folder's disk."""
    return shutil.disk_usage(folder).free


def free_memory() -> int:
    """Return the bytes of memory that a process can still get, in the machine and in its container."""
    return int(min(psutil.virtual_memory().available, available_memory()))


def disk_floor(folder: Path, weights: str) -> int:
    """Return the free bytes that a new trial needs: `DISK_FLOOR`, and `COPIES` of the delivered weights."""
    path = folder / weights
    return DISK_FLOOR + COPIES * (path.stat().st_size if path.is_file() else 0)


class Floors:
    """Tells why no new trial may start, if so.

    Args:
        folder: The run folder.
        weights: Name of the delivered weights in it.
        disk: Returns the free bytes of a folder's disk.
        memory: Returns the bytes of memory that a process can still get.
    """

    def __init__(
        self,
        folder: Path,
        weights: str,
        disk: Callable[[Path], int] = free_disk,
        memory: Callable[[], int] = free_memory,
    ):
        self._folder, self._weights, self._disk, self._memory = folder, weights, disk, memory

    def __call__(self) -> str | None:
        """Return one line for display, or None where there is room."""
        free, floor = self._disk(self._folder), disk_floor(self._folder, self._weights)
        if free < floor:
            return f"no new trial starts: {_mib(free)} are free on the disk of {self._folder}, below {_mib(floor)}"
        left = self._memory()
        if left < MEMORY_FLOOR:
            return f"no new trial starts: {_mib(left)} of memory are left, below {_mib(MEMORY_FLOOR)}"
        return None


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
