"""The device that a training runs on."""

from __future__ import annotations

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, is_initialized


def pick_device(cpu: bool) -> torch.device:
    """Return the device that Accelerate will use in this process.

    Without an accelerator, `PartialState` must be told to use the CPU, or several processes would not connect.
    """
    device: torch.device = PartialState(cpu=cpu or not torch.accelerator.is_available()).device
    return device


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil  # here, since an exported script needs it on none of the usual devices

    return int(psutil.virtual_memory().available)


def out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out; not all libraries raise torch's own error for that."""
    text = str(error).lower()
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def find_device_anew(cpu: bool) -> None:
    """Let Accelerate find out anew what it runs on, for an Accelerator of the user's file too.

    It keeps what it found first as long as the process lives. That may have been when the user's file was read,
    before this process had its own device or knew of others.
    """
    had, whole = bool(PartialState._shared_state), is_initialized()
    AcceleratorState._reset_state(reset_partial_state=True)
    if had:
        pick_device(cpu)
    if whole:
        Accelerator(cpu=cpu or not torch.accelerator.is_available())
