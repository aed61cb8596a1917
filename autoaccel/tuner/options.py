"""How a run is to be made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from autoaccel.core.resources import Resources
from autoaccel.errors import UsageError


@dataclass(frozen=True)
class Options:
    """How a run is to be made; the defaults are those of the command line.

    Args:
        space: Name or file of the search space; by the kind of the inputs when missing.
        metric: Overrides the task's metric.
        out: The run folder; `runs/NAME` when missing.
        seed: Seeds the split, the search and every trial.
        resume: Go on with an unfinished run.
        devices: GPU numbers such as `0,1`, or `cpu`.
        workers: Trials side by side.
        inline: Train in this process, one trial after the other, for a debugger: nothing that hangs is killed.
    """

    space: str | None = None
    metric: str | None = None
    out: str | Path | None = None
    seed: int = 0
    resume: bool = False
    devices: str = ""
    workers: int = 1
    inline: bool = False

    def resources(self) -> Resources:
        """What the workers run on.

        Raises:
            UsageError: If the devices or the number of workers make no sense.
        """
        if self.workers < 1:
            raise UsageError(f"--workers must be at least 1, got {self.workers}")
        if self.inline and self.workers > 1:
            raise UsageError(f"--inline trains one trial at a time, so --workers cannot be {self.workers}")
        numbers = tuple(d for d in self.devices.split(",") if d) if self.devices != "cpu" else ()
        if not all(number.isdecimal() for number in numbers):
            raise UsageError(f"--devices takes numbers such as 0,1 or cpu, got {self.devices!r}")
        workers = max(self.workers, len(numbers))
        return Resources(tuple(map(_allotted, numbers)), self.devices == "cpu", workers, self.seed, self.metric)


def _allotted(number: str) -> str:
    """The name of the GPU with this number among those that a scheduler, or the user, has allotted."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if names == [""]:
        return number
    if int(number) >= len(names):
        raise UsageError(f"--devices {number}: CUDA_VISIBLE_DEVICES={','.join(names)} allots only {len(names)}")
    return names[int(number)]
