"""The executors by name. To add one, add a module or package here and an entry below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from autoaccel.core.clock import Clock
from autoaccel.core.parts import find_part
from autoaccel.core.resources import Resources
from autoaccel.core.target import task_ref
from autoaccel.errors import UsageError
from autoaccel.execution.base import Executor, ExecutorFactory
from autoaccel.execution.local.supervisor import Supervisor


def local(task: Any, resources: Resources, clock: Clock, folder: Path) -> Executor:
    """Run trials as processes on this machine."""
    return Supervisor(task_ref(task, folder), resources, clock, folder)


def inline(task: Any, resources: Resources, clock: Clock, folder: Path) -> Executor:
    """Run trials in this process, for debugging."""
    # Imported here: it loads torch, which this process does not need otherwise.
    from autoaccel.execution.inline import InlineExecutor

    return InlineExecutor(task, resources, clock, folder)


def ray(task: Any, resources: Resources, clock: Clock, folder: Path) -> Executor:
    """Run trials on the nodes of the Ray cluster at RAY_ADDRESS, or of one on this machine.

    Raises:
        UsageError: If Ray is not installed.
    """
    # Imported here: Ray is an extra.
    try:
        from autoaccel.execution.ray.executor import RayExecutor
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise UsageError("the executor ray needs Ray: pip install 'autoaccel[ray]'") from error
    return RayExecutor(task_ref(task, folder), resources, clock, folder)


DEFAULT = "local"
SLURM = "slurm"
"""No executor: the command line submits the whole run as a job, which has the local one."""
EXECUTORS: Mapping[str, ExecutorFactory] = MappingProxyType({DEFAULT: local, "inline": inline, "ray": ray})


def find_executor(given: object) -> ExecutorFactory:
    """Return the factory of the executor that the user asked for: a name in `EXECUTORS`, or a factory.

    Raises:
        UsageError: If it is neither.
    """
    if given == SLURM:
        raise UsageError("executor 'slurm' is for whole commands: autoaccel tune model.py ... --executor slurm")
    accepted = f"{SLURM} on the command line, or a function (task, resources, clock, folder) -> Executor"
    return find_part("executor", given, EXECUTORS, accepted)
