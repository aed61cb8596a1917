"""The phases of a run."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """The phase of a run."""

    PROFILE = "profile"
    SEARCH = "search"
    FINAL = "final training"
    EVIDENCE = "evidence"
    DONE = "done"
