"""A job that was asked for, and may wait for devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoaccel.core.trial import TrialRequest


@dataclass(frozen=True)
class Asked:
    """A job that was asked for.

    Args:
        trial: Number of the trial; negative for a measurement.
        log: The file for its output.
        limit: Seconds after which it is asked to stop; None for never.
        fields: What it is told.
        request: The request of the trial; None for a measurement.
    """

    trial: int
    log: Path
    limit: float | None
    fields: Mapping[str, Any]
    request: TrialRequest | None = None

    @property
    def devices(self) -> int:
        """How many devices it needs."""
        return self.request.devices if self.request else 1

    @property
    def processes(self) -> int:
        """How many processes share it."""
        return self.request.processes if self.request else 1
