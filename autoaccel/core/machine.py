"""What a machine has to train on."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass

from autoaccel.core.control_group import cpu_quota

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable with the names of the GPUs that CUDA shows, read when a process uses it first."""


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one that is used like a whole.

    Args:
        name: What CUDA_VISIBLE_DEVICES calls it: a number, or the UUID of a GPU or of a MIG instance.
        model: What its maker calls it.
        memory: Its bytes of memory.
    """

    name: str
    model: str = "GPU"
    memory: int = 0


@dataclass(frozen=True)
class Machine:
    """What is there.

    Args:
        gpus: The GPUs that torch sees.
        cpus: How many CPUs this process may use.
    """

    gpus: tuple[Gpu, ...] = ()
    cpus: int = 1

    def __str__(self) -> str:
        """Return it for display, such as `2 x NVIDIA H200, 16 CPUs`."""
        cpus = f"{self.cpus} CPU{'s' if self.cpus > 1 else ''}"
        return ", ".join([models(self.gpus), cpus] if self.gpus else [cpus])


def models(gpus: tuple[Gpu, ...]) -> str:
    """Return GPUs by their models, such as `2 x NVIDIA H200`."""
    return ", ".join(f"{count} x {model}" for model, count in Counter(gpu.model for gpu in gpus).items())


def usable_cpus() -> int:
    """Return how many CPUs this process may use: by its affinity, and by the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota == math.inf else max(1, min(cores, math.ceil(quota)))
