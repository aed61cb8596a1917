"""The options of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.goal import Goal, parse_goal
from autoaccel.core.paths import usable
from autoaccel.core.resources import Resources
from autoaccel.errors import UsageError
from autoaccel.execution import executors
from autoaccel.execution.executors import find_executor
from autoaccel.search import samplers, searches
from autoaccel.search.samplers import find_sampler
from autoaccel.search.searches import find_search

MOST_WORKERS = 256
LARGEST_SEED = 2**31 - 1
"""Some trainings add a little to it, and numpy takes at most 2^32 - 1."""


@dataclass(frozen=True)
class Options:
    """The options of a run; the defaults are those of the command line.

    Args:
        space: Name or file of the search space; if None, chosen by the kind of inputs.
        metric: Overrides the task's metric.
        out: The run folder; `runs/NAME` if None.
        seed: Seed of the split, the search and every trial.
        resume: Continue an unfinished run.
        add_budget: What to add to the budget of the run that is resumed, which may be complete, such as `1h`.
        fork: Begin anew in another folder, and try the best recipes of the last run there early.
        devices: Numbers of GPUs such as `0,1`, among those that torch sees, or `cpu`; empty for all.
        workers: Number of trials side by side; None for one on each GPU, and on CPUs for what finishes most.
        memory: Try recipes of earlier runs early, and remember those of this run that beat plain.
        warm_start: The folder of a finished run, whose best recipes are tried early.
        max_epochs: Passes over the training data after which training one model longer is of no use; what they
            leave of the budget goes to the search. None if unknown.
        target: Value of the task's metric at which the run may stop, such as `accuracy=0.97`.
        subject_to: What the delivered model has to keep, such as `latency_ms<=5`; one or several. A name is
            `latency_ms`, `size_mb`, `memory_mb` or a metric, computed on the validation set.
        objective: `quality,cost`, `quality,latency`, `quality,size` or `quality,memory`: the result has a front of
            models, of which none is better in both.
        sampler: The source of recipes: a name (`mixed`, `tpe`, `random`), any Optuna sampler with its own seed, or
            a function `(space, seed) -> Sampler`; see `autoaccel.search.base`. `mixed` if None.
        search: The search algorithm: a name (`halving`), or a function `SearchSettings -> Search`.
        executor: Where to train: `local` (processes on this machine), `ray` (the nodes of a Ray cluster), `inline`
            (this process, one trial at a time, for debugging; hung trials are not killed), or a factory; see
            `autoaccel.execution.base`.
    """

    space: str | None = None
    metric: str | None = None
    out: str | Path | None = None
    seed: int = 0
    resume: bool = False
    devices: str = ""
    workers: int | None = None
    memory: bool = True
    warm_start: str | Path | None = None
    max_epochs: float | None = None
    target: str | None = None
    subject_to: str | Sequence[str] = ()
    objective: str | None = None
    sampler: Any = None
    search: Any = searches.DEFAULT
    executor: Any = executors.DEFAULT
    fork: bool = False
    add_budget: str | None = None

    def resources(self) -> Resources:
        """Return the devices and settings of the workers.

        Raises:
            UsageError: If an option is invalid, the sampler, search and executor included.
        """
        find_sampler(self.sampler), find_search(self.search), find_executor(self.executor)
        self.longest()
        goal = self.goal()
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise UsageError(f"--workers must be from 1 to {MOST_WORKERS}, got {self.workers}")
        if self.executor == "inline" and (self.workers or 1) > 1:
            raise UsageError(f"--inline trains one trial at a time, so --workers cannot be {self.workers}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"--seed must be a whole number from 0 to {LARGEST_SEED}, got {self.seed!r:.40}")
        if self.warm_start is not None:
            usable(self.warm_start, "--warm-start")
        cpu = self.devices == "cpu"
        devices = () if cpu else _numbers(self.devices)
        return Resources(devices, cpu, self.workers, self.seed, self.metric, goal.measures)

    def longest(self) -> Budget | None:
        """Return the longest useful training of one model; None if unknown.

        Raises:
            UsageError: If the number of epochs is invalid.
        """
        most = self.max_epochs
        if most is None:
            return None
        if isinstance(most, bool) or not isinstance(most, int | float) or not 0 < most < math.inf:
            raise UsageError(
                f"--max-epochs must be a positive number of passes over the training data, got {most!r}"
            )
        return Budget(epochs=most)

    def goal(self) -> Goal:
        """Return what the run is after besides the best metric.

        Raises:
            UsageError: If it is not understood, or the chosen search or sampler does not know of it.
        """
        goal = parse_goal(self.target, self.subject_to, self.objective)
        if goal and self.search != searches.DEFAULT:
            raise UsageError(
                f"--target, --subject-to and --objective need the search {searches.DEFAULT}, "
                f"not {_name(self.search)}"
            )
        if goal.second and self.sampler not in (None, samplers.DEFAULT):
            raise UsageError(
                f"--objective needs the sampler {samplers.DEFAULT}: {_name(self.sampler)} is after quality alone"
            )
        return goal

    def parts(self) -> str:
        """Return the names of the search and the sampler, for the identity of a run."""
        return ", ".join(map(_name, (self.search, self.sampler or samplers.DEFAULT)))


def _numbers(devices: str) -> tuple[int, ...]:
    """Return the numbers of the requested GPUs; empty for all."""
    numbers = [part.strip() for part in devices.split(",") if part.strip()]
    if not all(number.isdecimal() and number.isascii() and len(number) < 9 for number in numbers):
        raise UsageError(f"--devices takes numbers such as 0,1 or cpu, got {devices!r}")
    if len({*map(int, numbers)}) < len(numbers):
        raise UsageError(f"--devices {devices}: a GPU trains one trial at a time, so each number may come once")
    return tuple(map(int, numbers))


def _name(part: Any) -> str:
    """Return a name that is the same in every process."""
    return part if isinstance(part, str) else str(getattr(part, "__name__", type(part).__name__))
