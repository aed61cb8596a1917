"""Questions about paths that users give, which may be no paths at all."""

from __future__ import annotations

from pathlib import Path


def is_file(path: Path) -> bool:
    """Return whether there is a file; unlike the method, False where the name is too long or holds a NUL."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
