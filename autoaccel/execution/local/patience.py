"""How long a process may make no progress before it counts as hung. A wrong kill is worse than a late one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from autoaccel.core.quantities import format_seconds
from autoaccel.execution.local.beats import Counts

LONGEST_GLANCE = 2.0
"""Seconds of silence that one look may add: a supervisor that was stopped itself, or that slept with the machine,
has not seen whether the others got on."""
SAMPLE = 1.0
"""Seconds of silence between two looks at the CPU time."""
ASLEEP = 0.01
"""A process that uses less than this share of a core does nothing."""
TICKS = 0.1
"""CPU seconds that a process may use while it does nothing."""


@dataclass(frozen=True)
class Patience:
    """Seconds of silence that are waited for; `times` what is expected or has been seen, where that is longer.

    Args:
        idle: While neither it nor any child of its uses the CPU or waits for a disk.
        forked: As `idle`, for a forked worker before its first step: a fresh process tries again.
        step: In a step that uses the CPU: new shapes are compiled anew, and slow data come once an epoch.
        stage: In what has no steps: set-up, compilation and first step, evaluations, saving.
        overtime: When the time budget is over, in a step, or idle, or before the first step.
        load: While the task is loaded, with use of the CPU: data may be prepared there.
        load_idle: While the task is loaded, without: it may wait for another process to prepare them.
        answer: For the fork server to do what it is asked for.
        times: How much longer than expected a step or an evaluation may take.
    """

    idle: float = 120.0
    forked: float = 20.0
    step: float = 300.0
    stage: float = 1800.0
    overtime: float = 60.0
    load: float = 3600.0
    load_idle: float = 600.0
    answer: float = 30.0
    times: float = 20.0


PATIENCE = Patience()


@dataclass
class Watch:
    """Follows one process, and knows for how long it has made no progress.

    Only time in which it was watched counts.

    Attributes:
        silent: Seconds since its last progress.
        idle: Seconds of them, up to now, in which it used no CPU.
        slowest: The longest silence in a step but the first, in seconds.
        first: The longest silence in the first step.
    """

    silent: float = 0.0
    idle: float = 0.0
    slowest: float = 0.0
    first: float = 0.0
    seen: Counts = field(default=Counts(0, 0, False))
    _looked: float | None = None
    _sampled: float = 0.0
    _window: tuple[float, float] | None = None

    def look(self, now: float, progress: Counts, used: Callable[[], float]) -> None:
        """Look at a process.

        Args:
            now: Seconds on a monotonic clock.
            progress: What it has counted.
            used: Returns the CPU seconds of it and its children; infinity if they wait for a disk.
        """
        passed = min(LONGEST_GLANCE, now - (now if self._looked is None else self._looked))
        self._looked = now
        if progress.beats != self.seen.beats:
            self._got_on(progress)
            return
        self.silent += passed
        if self.silent - self._sampled >= SAMPLE:
            self._sampled = self.silent
            self._sample(used())

    def _got_on(self, progress: Counts) -> None:
        if self.seen.stepping:
            if self.seen.begun:
                self.slowest = max(self.slowest, self.silent)
            else:
                self.first = max(self.first, self.silent)
        self.seen = progress
        self.silent = self.idle = self._sampled = 0.0
        self._window = None

    def _sample(self, used: float) -> None:
        if self._window is None or used - self._window[1] > TICKS + ASLEEP * (self.silent - self._window[0]):
            self._window = (self.silent, used) if math.isfinite(used) else None
        self.idle = self.silent - self._window[0] if self._window else 0.0


def hangs(watch: Watch, patience: Patience, step: float, stage: float, overtime: bool) -> str:
    """Return why a worker counts as hung, as one line, or an empty string.

    Args:
        watch: What was seen of it.
        patience: How long it is waited for.
        step: Seconds that a step is expected to take; 0 if unknown.
        stage: Seconds that an evaluation is expected to take, or all that follows it; 0 if unknown.
        overtime: Whether its time budget is over.
    """
    inside = watch.seen.stepping and watch.seen.begun
    if inside:
        expected = patience.times * max(step, watch.slowest)
        # What compiled once may do so again, for another shape.
        least = max(patience.overtime if overtime else patience.step, 2 * watch.first)
    else:
        expected = patience.times * max(step if watch.seen.stepping else 0.0, stage)
        # An evaluation behind the end of the budget is the one that the result waits for.
        least = patience.overtime if overtime and not watch.seen.begun else patience.stage
    idle = min(patience.overtime, patience.idle) if overtime else patience.idle
    if watch.idle > max(idle, expected):
        return f"nothing has happened for {format_seconds(watch.idle)}"
    if watch.silent > max(least, expected):
        what = (
            "a step" if watch.seen.stepping else "an evaluation, or what follows it," if watch.seen.begun else "it"
        )
        return f"{what} has taken {format_seconds(watch.silent)} and got nowhere"
    return ""


def own_memory(pid: int) -> float:
    """Return the bytes that a process shares with no other one; 0 if it cannot be seen."""
    try:
        return float(psutil.Process(pid).memory_full_info().uss) if pid else 0.0
    except (psutil.Error, AttributeError):
        return 0.0


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and all below it so far; infinity while one of them waits for a disk."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            try:
                with process.oneshot():
                    if process.status() == psutil.STATUS_DISK_SLEEP:
                        return math.inf
                    times = process.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system + times.children_user + times.children_system
    except psutil.Error:
        return 0.0
    return total
