"""The part of the machine that a run may use."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """The devices and settings of the workers.

    Args:
        devices: CUDA names of the GPUs, one worker each; empty for any available device.
        cpu: Use the CPU even if there is a GPU.
        workers: Number of parallel trials.
        split_seed: Seed of the validation split.
        metric: Overrides the task's metric.
        measure: What trials measure of their models; see `autoaccel.core.goal`.
    """

    devices: tuple[str, ...] = ()
    cpu: bool = False
    workers: int = 1
    split_seed: int = 0
    metric: str | None = None
    measure: tuple[str, ...] = ()

    @property
    def threads(self) -> int:
        """CPU threads per worker."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // self.workers)
