"""Runs the comparison in processes of one thread each, and keeps each result as a line of a file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from autoaccel import Task
from autoaccel.core.clock import Clock, SystemClock
from autoaccel.spaces.space import SearchSpace
from autoaccel.tuner.summary import trials_csv
from benchmarks.jobs import Row, attempt, collect, processes, rows, shown
from benchmarks.recipes.methods import METHODS, OURS, RECOMMENDED, Delivered, alone
from benchmarks.recipes.tasks import TASKS
from benchmarks.recipes.trainer import Trainer
from benchmarks.search.steady import SteadyClock, reference

THIRD = 1 / 3


class Clocks(StrEnum):
    """What the seconds of a budget are measured with."""

    WALL = "wall"
    PROCESSOR = "processor"


@dataclass(frozen=True)
class Case:
    """One run of a method.

    Args:
        task: The task.
        method: The method.
        budget: Seconds.
        clock: What they are measured with, see `Clocks`.
        seed: The seed.
    """

    task: str
    method: str
    budget: float
    clock: Clocks
    seed: int


Results = Mapping[Case, Row]


def cases(tasks: Sequence[str], methods: Sequence[str], budget: float, clock: Clocks, seeds: int) -> list[Case]:
    """Return all cases, seed by seed; nothing is recommended first where a space has no known-good recipes."""
    known = {task: bool(SearchSpace.load(TASKS[task].space).portfolio) for task in tasks}
    return [
        Case(task, method, budget, clock, seed)
        for seed in range(seeds)
        for task in tasks
        for method in methods
        if known[task] or method != RECOMMENDED
    ]


def read(path: Path) -> dict[Case, Row]:
    """Return the rows of a file; a last line that was cut off is skipped."""
    return {_case(row): row for row in rows(path)}


def _case(row: Row) -> Case:
    return Case(row["task"], row["method"], row["budget"], Clocks(row["clock"]), row["seed"])


def run(wanted: Iterable[Case], out: Path, kept: Path, jobs: int, console: Console) -> list[str]:
    """Run the cases that have no row yet, and return why some of them failed.

    Args:
        wanted: The cases.
        out: The folder of `results.jsonl`, to which each case adds a line, and of the trials of our runs.
        kept: The folder of what is made once for a task.
        jobs: Number of processes. Each case has its own, which begins with torch imported.
        console: Where the progress is shown.
    """
    path = out / "results.jsonl"
    done = read(path)
    missing = [case for case in wanted if case not in done]
    with processes(jobs, each=1) as pool, shown(console) as progress:
        for name in dict.fromkeys(case.task for case in missing):
            pool.submit(prepare, name, kept).result()
        running = {pool.submit(attempt, play, case, out, kept): case for case in missing}
        return collect(running, path, progress, "runs")


def prepare(name: str, kept: Path) -> None:
    """Make what is made once for a task: pretrained weights, and what a second of the steady clock is."""
    torch.set_num_threads(1)
    kept.mkdir(parents=True, exist_ok=True)
    steady(name, TASKS[name].make(kept), kept)


def steady(name: str, task: Task, kept: Path) -> SteadyClock:
    """Return a clock of processor seconds, which are as long in all runs of a task."""
    path = kept / f"second-{name}.json"
    clock = SteadyClock(reference(task), json.loads(path.read_text()) if path.exists() else None)
    path.write_text(json.dumps(clock.nominal))
    return clock


def play(case: Case, out: Path, kept: Path) -> Row:
    """Run one case, and return its row."""
    torch.set_num_threads(1)
    clock: Clock = SystemClock()
    task = TASKS[case.task].make(kept)
    if case.clock == Clocks.PROCESSOR:
        clock = steady(case.task, task, kept)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(task, TASKS[case.task].space, case.budget, clock, Path(folder))
        begun = clock.now()
        found = METHODS[case.method](trainer, case.seed)
        row = {**asdict(case), "begun": begun, "seconds": clock.now(), "trainings": trainer.count}
        row |= described(found, trainer)
        if case.method == OURS:
            keep_trials(found, out / "trials" / f"{case.task}-{case.clock}-{case.budget:g}-{case.seed}.csv")
            row |= {"plan": found.plan, "third": third(found, trainer, case.seed)}
    return row


def described(found: Delivered, trainer: Trainer) -> dict[str, Any]:
    """Return what was delivered as plain data; the test set is scored after the deadline if it was not before."""
    final = found.outcome.final
    if final is None:
        raise RuntimeError(f"no model: {found.outcome.kind.value}: {found.outcome.reason}")
    test = found.outcome.test or trainer.test(found.request)
    return {
        "metric": trainer.facts.metric,
        "maximize": trainer.facts.maximize,
        "test": test["metric"],
        "test_loss": test["loss"],
        "valid": final.metric,
        "origin": found.origin,
        "length": found.request.budget.seconds,
        "progress": final.progress,
        "passes": found.outcome.cost["samples"] / trainer.facts.n_train,
        "recipe": found.request.recipe.flat(),
    }


def third(found: Delivered, trainer: Trainer, seed: int) -> float | None:
    """Return the test metric of the delivered recipe trained anew for a third of the budget; None if it failed."""
    again = alone(trainer, found.request.recipe, found.origin, seed, trainer.budget * THIRD)
    return described(again, trainer)["test"] if again.outcome.final else None


def keep_trials(found: Delivered, path: Path) -> None:
    """Keep the trials of our search, to see why it chose what it did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if found.trials is not None:
        path.write_text(trials_csv(found.trials))
