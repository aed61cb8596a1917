"""What `autoaccel tune --executor slurm` does: it submits the same command as one job, and returns."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import typer

from autoaccel.core.budget import Budget, parse_budget
from autoaccel.core.paths import missing, remove_empty, usable
from autoaccel.core.quantities import format_seconds
from autoaccel.core.target import slug, target_name
from autoaccel.errors import UsageError
from autoaccel.search_spaces import read as read_space
from autoaccel.storage.choice import choose_folder
from autoaccel.tuner.options import Options

HERE = {"inline": "--inline", "dry_run": "--dry-run", "fork": "--fork (--warm-start RUN does the same)"}
"""What is about this machine, or would begin anew whenever the job is started again."""
NOT_SENT = ("executor", "slurm", "as_json", "out")
SET = (
    *("array", "nodes", "ntasks", "ntasks_per_node"),  # it is one process
    *("signal", "requeue", "no_requeue"),  # which is told before its end, and queued again
    *("output", "error", "open_mode", "parsable", "quiet", "test_only", "wait"),  # and which submitit finds
)
"""Options of sbatch that make the job what it is."""
BESIDE = 300.0
"""Seconds of a job beside those of its run: its start, and from the signal to its end, which is up to 150."""
MORE_TIMEOUTS = 3
"""How often a job may run out of its time beyond what its budget needs; submitit's number."""


def submit(
    context: typer.Context, target: str, budget: Budget, options: Options, given: Sequence[str], as_json: bool
) -> None:
    """Submit the command that is run as one job, and print what it is and how to watch it.

    Args:
        context: The command.
        target: Its task.
        budget: Its budget.
        options: Its options.
        given: Options of sbatch as `KEY=VALUE`, `time` as a duration.
        as_json: Whether to print one JSON document.

    Raises:
        UsageError: If the job cannot run, or is not accepted.
        TaskError: If the task's file is missing, or not valid Python.
    """
    for name, flag in HERE.items():
        if context.params[name]:
            raise UsageError(f"--executor slurm does not go with {flag}")
    sbatch = _sbatch_options(given)
    minutes, timeouts = _limits(budget, sbatch.pop("time", None))
    options.resources()
    name = slug(target_name(target))
    if options.space:
        read_space(options.space)
    execution = _slurm()
    run = choose_folder(usable(options.out, "--out") if options.out else None, name, options.resume)
    whole = run.resolve()
    logs = Path(f"{whole}.slurm")  # submitit leaves links, and a run folder holds none
    command = [sys.executable, "-m", "autoaccel.cli", *_arguments(context), f"--out={whole}"]
    with _made(run, logs):
        job = execution.submit(execution.RunJob(command, whole), logs, name, minutes, timeouts, sbatch)
    log = os.path.relpath(job.paths.stdout)
    if as_json:
        print(json.dumps({"job": job.job_id, "folder": str(run), "log": log, "minutes": minutes}))
        return
    print(f"job {job.job_id}: submitted, for at most {format_seconds(60.0 * minutes)}")
    print(f"run: {run}; log: {log}")
    print(f"watch: squeue -j {job.job_id}, and once it runs autoaccel status {run}")


def _slurm() -> ModuleType:
    """Return the module that needs submitit, where Slurm is there too."""
    try:
        from autoaccel.execution import slurm
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "submitit":
            raise
        raise UsageError("--executor slurm needs submitit: pip install 'autoaccel[slurm]'") from None
    if lacking := [name for name in ("sbatch", "srun") if shutil.which(name) is None]:
        raise UsageError(
            f"--executor slurm: no {lacking[0]} on this machine; submit where the cluster's commands are"
        )
    return slurm


def _arguments(context: typer.Context) -> Iterator[str]:
    """Give the arguments of the command as they were given, but for those that are about its submission."""
    yield context.command.name or ""
    for each in context.command.params:
        name, value = each.name or "", context.params[each.name or ""]
        source = context.get_parameter_source(name)
        if name in NOT_SENT or source is None or source.name != "COMMANDLINE":
            continue
        if each.param_type_name == "argument":
            yield str(value)
        elif isinstance(value, bool):
            yield each.opts[0]
        else:
            yield from (f"{each.opts[0]}={one}" for one in (value if isinstance(value, list | tuple) else [value]))


def _sbatch_options(given: Sequence[str]) -> dict[str, str | bool]:
    """Return options of sbatch by name, with `_` for `-` as submitit writes them; a flag is True."""
    found: dict[str, str | bool] = {}
    for each in given:
        key, equals, value = each.partition("=")
        name = key.replace("-", "_")
        if not re.fullmatch("[a-z][a-z0-9_]*", name) or not value.isprintable() or bool(equals) != bool(value):
            raise UsageError(
                f"--slurm {each!r:.60}: accepted is a long option of sbatch such as partition=gpu or exclusive"
            )
        if name in SET:
            raise UsageError(f"--slurm {key}: not open to choice, as a run is one process that is queued again")
        if name in found:
            raise UsageError(f"--slurm {key} is given twice")
        found[name] = value or True
    return found


def _limits(budget: Budget, time: str | bool | None) -> tuple[int, int]:
    """Return the longest time of a job in minutes, and how often that may be over before the run is."""
    whole = budget.seconds
    if time is None:
        if whole is None:
            raise UsageError("a budget of FLOPs says no time: add --slurm time=8h, or what the cluster allows")
        return math.ceil((whole + BESIDE) / 60), MORE_TIMEOUTS
    seconds = parse_budget(time).seconds if isinstance(time, str) else None
    if seconds is None or seconds < 2 * BESIDE:
        least = format_seconds(2 * BESIDE)
        raise UsageError(f"--slurm time={time}: accepted is a duration from {least} on, such as 8h")
    needed = math.ceil((whole or 0.0) / (seconds - BESIDE)) - 1
    return math.floor(seconds / 60), max(0, needed) + MORE_TIMEOUTS


@contextmanager
def _made(run: Path, logs: Path) -> Iterator[None]:
    """Make the run's folder, by which the next one takes another; leave nothing if that or what follows fails."""
    made = [*missing(run), *missing(logs)]
    try:
        try:
            run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{run}: cannot be used as a run folder: {error.strerror}") from None
        yield
    except BaseException:
        if logs in made:
            shutil.rmtree(logs, ignore_errors=True)
        remove_empty(made)
        raise
