"""Paths that users give, which may be no paths at all, and folders whose names are to reach the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from autoaccel.errors import UsageError


def is_file(path: Path) -> bool:
    """Return whether there is a file; unlike the method, False where the name is too long or holds a NUL."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def usable(path: str | Path, what: str) -> Path:
    """Return the path of a file or folder, which need not exist.

    Args:
        path: As the user gave it.
        what: What it is, for the message.

    Raises:
        UsageError: If nothing can have this name, such as one of 300 letters, or it cannot be reached.
    """
    made = Path(path)
    try:
        str(made).encode()  # reports and JSON files, which name it, are UTF-8
        made.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except UnicodeEncodeError:
        raise UsageError(f"{what} {str(path)!r:.80}: the name is not UTF-8") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{what} {str(path)!r:.80}: {getattr(error, 'strerror', None) or error}") from None
    return made


def missing(path: Path) -> list[Path]:
    """Return the path and those above it that do not exist, the innermost first."""
    return [each for each in (path, *path.parents) if not each.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders as far as they are there and empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk: without that, a power cut may undo a rename."""
    if os.name != "posix":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)
