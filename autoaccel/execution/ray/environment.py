"""Settings for Ray, which it reads from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

QUIET = {"RAY_DEDUP_LOGS_SKIP_REGEX": "^"}
"""With it, Ray does not print what befalls nodes to stdout, where the result is printed; it reads it once."""


@contextmanager
def unless_set(settings: Mapping[str, str]) -> Iterator[None]:
    """Set what the user has not set in the environment, and leave everything as it was afterwards."""
    mine = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in mine})
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
