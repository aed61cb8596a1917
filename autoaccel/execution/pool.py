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

    def lease(self, count: int = 1) -> tuple[str, ...]:
        """Return devices that nobody has, in their order; none if not as many are free.

        Raises:
            ValueError: If there are not as many at all.
        """
        if not 1 <= count <= len(self._devices):
            raise ValueError(f"{count} of {len(self._devices)} devices cannot be leased")
        if count > len(self._free):
            return ()
        leased, self._free = tuple(self._free[:count]), self._free[count:]
        return leased

    def give_back(self, devices: Sequence[str]) -> None:
        """Take devices back.

        Raises:
            ValueError: If one of them is not leased.
        """
        if beyond := Counter([*self._free, *devices]) - Counter(self._devices):
            raise ValueError(f"device {next(iter(beyond))!r} is not leased")
        self._free = sorted([*self._free, *devices], key=self._devices.index)
