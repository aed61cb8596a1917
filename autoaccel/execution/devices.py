"""Choose the devices of a run's workers."""

from __future__ import annotations

import os

from autoaccel.errors import UsageError


def gpu_names(devices: str) -> tuple[str, ...]:
    """Return the CUDA names of the requested GPUs; empty for `cpu`, or for any available device.

    Args:
        devices: Indices such as `0,1` into `CUDA_VISIBLE_DEVICES` if it is set, else GPU numbers; `cpu`; or empty.

    Raises:
        UsageError: If it is none of these, or an index is outside `CUDA_VISIBLE_DEVICES`.
    """
    numbers = [] if devices == "cpu" else [part for part in devices.split(",") if part]
    if not all(number.isdecimal() for number in numbers):
        raise UsageError(f"--devices takes numbers such as 0,1 or cpu, got {devices!r}")
    return tuple(map(_allotted, numbers))


def _allotted(number: str) -> str:
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if names == [""]:
        return number
    if int(number) >= len(names):
        raise UsageError(f"--devices {number}: CUDA_VISIBLE_DEVICES={','.join(names)} allots only {len(names)}")
    return names[int(number)]
