"""What a run's processes are given: the task, and what they run on."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskRef:
    """How a child process finds the user's task.

    Args:
        target: `model.py`, `model.py:name` or `package.module:name`; for people when pickled.
        pickled: A file with the pickled task, for one that was defined in a notebook.
    """

    target: str
    pickled: str = ""


@dataclass(frozen=True)
class Resources:
    """What the workers run on.

    Args:
        devices: Numbers of the GPUs, one worker each; empty for whatever is there.
        cpu: Use the CPU even where there is a GPU.
        workers: Trials side by side.
        split_seed: Decides the validation split.
        metric: Overrides the task's metric.
    """

    devices: tuple[str, ...] = ()
    cpu: bool = False
    workers: int = 1
    split_seed: int = 0
    metric: str | None = None

    @property
    def threads(self) -> int:
        """Threads of each worker."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // self.workers)
