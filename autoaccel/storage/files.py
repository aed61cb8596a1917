"""Writes that survive a crash: a file is there as a whole or not at all, and no symbolic link is followed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from autoaccel.core.paths import sync_folder
from autoaccel.errors import StoreError
from autoaccel.storage.space import release

T = TypeVar("T")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no room: on the disk, in the quota, under the limit of a file's size."""
CHUNK = 1 << 20


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file atomically: readers, even after a crash, see either the old or the new content.

    Raises:
        StoreError: If the file cannot be written; where the disk is full, with the bytes needed and free.
    """
    data = content.encode() if isinstance(content, str) else content
    _replace(path, lambda file: file.write(data), len(data))


def copy_atomically(source: Path, path: Path) -> str:
    """Copy a file as `write_atomically` writes one; return its SHA-256, taken of the bytes that were copied.

    Raises:
        StoreError: If it cannot be copied.
    """

    def fill(file: BinaryIO) -> str:
        digest = hashlib.sha256()
        with source.open("rb") as original:
            while part := original.read(CHUNK):
                digest.update(part)
                file.write(part)
        return digest.hexdigest()

    return _replace(path, fill, source.stat().st_size)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        StoreError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None


def guarded(path: Path, write: Callable[[], T], needed: int) -> T:
    """Call a function that writes; where the disk is full, once more without the space that is set aside.

    Args:
        path: What it writes, for the message.
        write: Leaves nothing behind if it fails.
        needed: Bytes that it writes.

    Raises:
        StoreError: If it fails.
    """
    try:
        try:
            return write()
        except OSError as error:
            if error.errno not in FULL or not release(path.parent):
                raise
            return write()
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}{_room(path, error, needed)}") from None


def _room(path: Path, error: OSError, needed: int) -> str:
    if error.errno not in FULL:
        return ""
    return f"; {needed:,} bytes are needed, {shutil.disk_usage(path.parent).free:,} are free"


def _replace(path: Path, fill: Callable[[BinaryIO], T], needed: int) -> T:
    temporary = path.with_name(f".{path.name}.tmp")

    def write() -> T:
        try:
            with _new(temporary) as file:
                made = fill(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
        return made

    return guarded(path, write, needed)


def _new(path: Path) -> BinaryIO:
    """Open a file that was not there: what a killed process left, or a link that somebody put there, is removed."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb")
