"""The devices of a run, each of which belongs to one trial at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class DevicePool:
    """Leases whole devices, and takes them back. It knows nothing of processes.

    Args:
        devices: The devices by name. A name that comes several times, such as the empty one for the CPU, can be
            leased as often.
    """

    def __init__(self, devices: Sequence[str]):
        self._devices = tuple(devices)
        self._free = list(devices)

    @property
    def free(self) -> int:
        """How many devices nobody has."""
        return len(self._free)

    def lease(self) -> str | None:
        """Return a device that nobody has, or None if there is none."""
        return self._free.pop(0) if self._free else None

    def give_back(self, device: str) -> None:
        """Take a device back.

        Raises:
            ValueError: If it is not leased.
        """
        if Counter(self._free)[device] >= Counter(self._devices)[device]:
            raise ValueError(f"device {device!r} is not leased")
        self._free.append(device)
