"""Find out what torch can train on."""

from __future__ import annotations

import os

import torch

from autoaccel.core.machine import VISIBLE, Gpu, Machine, usable_cpus
from autoaccel.errors import MachineError

PART = "MIG-"
OTHER = "HIP_VISIBLE_DEVICES"


def find_machine() -> Machine:
    """Return the GPUs that torch sees and the CPUs that this process may use.

    Where there are GPUs, it starts CUDA, after which this process can be forked no more.

    A process sees one MIG instance at most, the first that it is told of; as each trial is told of another, those
    that the user names in CUDA_VISIBLE_DEVICES are all there.

    Raises:
        MachineError: If HIP_VISIBLE_DEVICES is set, which would hide which GPU a trial has.
    """
    if not torch.cuda.is_available():
        return Machine((), usable_cpus())
    if torch.version.hip and OTHER in os.environ:
        raise MachineError(f"{OTHER} is set; set {VISIBLE} instead, which ROCm reads too")
    torch.cuda.init()  # before that, NVML counts, which knows of no instances
    count = torch.cuda.device_count()
    shown = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    if shown and shown[0].startswith(PART):
        names = [name for name in shown if name.startswith(PART)]
    else:
        names = shown[:count] or list(map(str, range(count)))
    found = [torch.cuda.get_device_properties(min(number, count - 1)) for number in range(len(names))]
    gpus = (Gpu(name, gpu.name, gpu.total_memory) for name, gpu in zip(names, found, strict=True))
    return Machine(tuple(gpus), usable_cpus())
