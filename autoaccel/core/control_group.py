"""The control group of this process, whose memory and CPUs it shares: a container, or a job of a cluster.

Read from Linux's cgroups, version 2 and 1; elsewhere nothing is known. The limits of the groups above count too.
Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/memory.html and scheduler/sched-bwc.html.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Names:
    """What a version calls its files.

    Args:
        kills: File that counts processes killed for lack of memory, as `oom_kill`.
        limit: File with the limit in bytes; `max` or a huge number for none.
        used: File with the bytes in use, the page cache included.
        cache: Name, in `memory.stat`, of the page cache that would be given up first.
        quota: Files with the microseconds of all CPUs together in a period, and the microseconds of a period.
    """

    kills: str
    limit: str
    used: str
    cache: str
    quota: tuple[str, ...]


SECOND = Names("memory.events", "memory.max", "memory.current", "inactive_file", ("cpu.max",))
FIRST = Names(
    "memory.oom_control",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
    ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
)


def kills() -> int | None:
    """Return how many processes the kernel has killed for lack of memory in this group; None if unknown."""
    return next(
        (found for folder, names in _groups() if (found := counter(folder / names.kills)) is not None), None
    )


def available_memory() -> float:
    """Return the bytes of memory that this group can still get; infinity if there is no limit, or it is unknown."""
    left = math.inf
    for folder, names in _groups():
        with suppress(OSError, ValueError):  # no limit reads `max`, which is no number
            limit, used = (int((folder / name).read_text()) for name in (names.limit, names.used))
            left = min(left, max(0, limit - used + (counter(folder / "memory.stat", names.cache) or 0)))
    return left


def cpu_quota() -> float:
    """Return how many CPUs this group may use, on average; infinity if there is no limit, or it is unknown."""
    least = math.inf
    for folder, names in _groups("cpu"):
        with suppress(OSError, ValueError):  # no limit reads `max`, which is no number, or -1
            quota, period = map(int, " ".join((folder / name).read_text() for name in names.quota).split())
            least = min(least, quota / period if quota > 0 else math.inf)
    return least


def counter(file: Path, which: str = "oom_kill") -> int | None:
    """Return a number from a file with a name and a number in each line; None if it is not there."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == which:
                return int(number)
    return None


def _groups(controller: str = "memory") -> Iterator[tuple[Path, Names]]:
    """Yield the folders of this process's group for a controller and of those above it, the nearest first."""
    with suppress(OSError):
        for line in MEMBERSHIP.read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                root, names = ROOT, SECOND
            elif controller in controllers.split(","):
                root, names = ROOT / controller, FIRST
            else:
                continue
            own = root / path.lstrip(
                "/"
            )  # of a container, which sees its own group as the root, it may not be there
            yield from ((place, names) for place in (own, *own.parents) if place.is_relative_to(root))
