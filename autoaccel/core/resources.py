"""What a run asks of a machine, and what each of its trials gets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import cycle, islice

from autoaccel.core.events import Profiled
from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import Gpu, Machine
from autoaccel.errors import UsageError

OPENMP = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Slots:
    """How many trials run side by side, and what each has for itself.

    Args:
        count: Number of trials.
        threads: CPU threads of each.
        gpus: The GPUs, one for each trial; empty on the CPU, or on an accelerator that is no GPU.
        idle: Number of GPUs that are not used.
        most: CPU threads that one process may have at most.
        nodes: How many of the places each machine has, where there are several; a trial has those of one.
    """

    count: int = 1
    threads: int = 1
    gpus: tuple[Gpu, ...] = ()
    idle: int = 0
    most: int = 1
    nodes: tuple[int, ...] = ()

    def profiled(self, facts: TaskFacts) -> Profiled:
        """Return the event that a task's facts are known, and how many trials run side by side here."""
        return Profiled(facts, self.count, bool(self.gpus), self.nodes)

    def threads_of(self, devices: int, processes: int) -> int:
        """Return the CPU threads of each process of a trial that has several of these places."""
        return self.threads if devices == processes else max(1, min(self.most, self.threads * devices // processes))

    @property
    def devices(self) -> tuple[str, ...]:
        """The name of each trial's device; an empty one stands for what is there without a choice."""
        return tuple(gpu.name for gpu in self.gpus) or ("",) * self.count

    def __str__(self) -> str:
        """Return it for display, such as `2 trials side by side, each with a GPU and 8 threads`."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        each = f"a GPU and {threads}" if self.gpus else threads
        idle = f"; {self.idle} GPU{'s are' if self.idle > 1 else ' is'} left idle" if self.idle else ""
        trials = f"{self.count} trials side by side, each" if self.count > 1 else "one trial at a time,"
        return f"{trials} with {each}{idle}"


@dataclass(frozen=True)
class Resources:
    """What a run asks for, and settings of its workers.

    Args:
        devices: Numbers of the GPUs to use, among those that torch sees; empty for all.
        cpu: Use the CPU even if there is a GPU.
        workers: Number of trials side by side; None for one on each GPU, and on the CPU for what finishes most.
        split_seed: Seed of the validation split.
        metric: Overrides the task's metric.
        measure: What trials measure of their models; see `autoaccel.core.goal`.
        sharing: Whether more trials than GPUs share them, as where none is really trained.
        choosing: Seconds that may be spent on finding out how many trials side by side finish most on the CPUs.
    """

    devices: tuple[int, ...] = ()
    cpu: bool = False
    workers: int | None = None
    split_seed: int = 0
    metric: str | None = None
    measure: tuple[str, ...] = ()
    sharing: bool = False
    choosing: float = 0.0

    def slots(self, machine: Machine) -> Slots:
        """Divide a machine among trials, none of which shares a GPU with another.

        Raises:
            UsageError: If there are no such GPUs, or not as many as trials, or more were asked for than trials.
        """
        gpus = () if self.cpu else self._gpus(machine)
        if not gpus:
            count = self.workers or 1
            return _slots(machine, count)
        count = self.workers or len(gpus)
        if count > len(gpus) and self.sharing:
            return _slots(machine, count, tuple(islice(cycle(gpus), count)))
        if count > len(gpus):
            raise UsageError(
                f"--workers {count}: each trial needs a GPU of its own, and there {_number(len(gpus))}"
                f"{' in --devices' if self.devices else ''}"
            )
        if self.devices and count < len(gpus):
            raise UsageError(
                f"--devices has {len(gpus)} GPUs for {count} trial{'s' if count > 1 else ''} at a time, "
                "each of which uses one; leave out the others"
            )
        return _slots(machine, count, gpus[:count], len(gpus) - count)

    def _gpus(self, machine: Machine) -> tuple[Gpu, ...]:
        count = len(machine.gpus)
        for number in self.devices:
            if number >= count:
                seen = f"there {_number(count)}, numbered from 0" if count else "torch finds no GPU"
                raise UsageError(f"--devices {number}: {seen}")
        return tuple(machine.gpus[number] for number in self.devices or range(count))


def _number(count: int) -> str:
    return f"are {count}" if count > 1 else "is 1"


def _slots(machine: Machine, count: int, gpus: tuple[Gpu, ...] = (), idle: int = 0) -> Slots:
    """Return places that share the CPUs; none has more threads than the user sets with OMP_NUM_THREADS."""
    told = os.environ.get(OPENMP, "").split(",")[0].strip()  # a list is for nested regions
    most = int(told) if told.isdecimal() and len(told) < 9 and int(told) else machine.cpus
    return Slots(count, max(1, min(most, machine.cpus // count)), gpus, idle, min(most, machine.cpus))
