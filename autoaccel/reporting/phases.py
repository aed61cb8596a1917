"""What a run is doing, in a word for display."""

from __future__ import annotations

from autoaccel.core.records import Trials
from autoaccel.core.trial import Purpose

PHASES = {Purpose.FINAL: "final training", Purpose.EVIDENCE: "evidence", Purpose.PACE: "timing steps"}
"""Names of the phases that follow the search."""


def phase_of(trials: Trials) -> str:
    """Return what a run is doing, or did last: the final training if that runs, whatever is trained beside it."""
    purposes = [record.purpose for record in trials]
    final = any(record.purpose is Purpose.FINAL for record in trials.running())
    return PHASES.get(Purpose.FINAL if final else purposes[-1], "search") if purposes else "search"
