"""The device that a training runs on."""

from __future__ import annotations

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState


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


def forget_devices() -> None:
    """Let Accelerate find out anew what it runs on.

    It keeps what it found first, and its first precision, as long as the process lives. That may have been in the
    user's file, before this process had its own device or knew of others.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
