"""Runs the cases of the benchmark in processes of one thread each, and keeps each result as a line of a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from rich.console import Console

from benchmarks.jobs import attempt, collect, finished, processes, rows, shown
from benchmarks.search.methods import find
from benchmarks.search.problems import Problem
from benchmarks.search.suites import SUITES


@dataclass(frozen=True)
class Case:
    """One search.

    Args:
        suite: The suite of the problem.
        task: The name of the problem within its suite.
        method: The name of the search.
        budget: The budget in full trainings.
        seed: The seed of the search.
    """

    suite: str
    task: str
    method: str
    budget: float
    seed: int


Results = Mapping[Case, float]
"""The regrets of the cases that are done."""


def cases(
    tasks: Mapping[str, Sequence[str]], methods: Sequence[str], budgets: Sequence[float], seeds: int
) -> list[Case]:
    """Return all cases, seed by seed, so that the first results already cover all of the rest."""
    return [
        Case(suite, task, method, budget, seed)
        for seed in range(seeds)
        for suite, names in tasks.items()
        for task in names
        for budget in budgets
        for method in methods
    ]


def read(path: Path) -> dict[Case, float]:
    """Return the results in a file; a last line that was cut off is skipped."""
    found = {}
    for row in rows(path):
        case = Case(row["suite"], row["task"], row["method"], float(row["budget"]), row["seed"])
        found[case] = float(row["regret"])
    return found


def run(wanted: Iterable[Case], data: Path, kept: Path, path: Path, jobs: int, console: Console) -> list[str]:
    """Run the cases that have no result yet, and return why some of them failed.

    Args:
        wanted: The cases.
        data: The folder of the suites' data.
        kept: The folder where what is dear to compute about a problem is kept.
        path: The file of the results, to which each result adds a line.
        jobs: Number of processes.
        console: Where the progress is shown.
    """
    done = read(path)
    missing = [case for case in wanted if case not in done]
    if not missing:
        return []
    with processes(jobs) as pool, shown(console) as progress:
        problems = list(dict.fromkeys((case.suite, case.task) for case in missing))
        bar = progress.add_task("scales of the problems", total=len(problems))
        scaling = [pool.submit(_keep_scale, *problem, data, kept) for problem in problems]
        for _ in finished(scaling, progress, bar):
            pass
        running = {pool.submit(attempt, play, case, data, kept): case for case in missing}
        return collect(running, path, progress, "searches")


def play(case: Case, data: Path, kept: Path) -> dict[str, object]:
    """Run one case, and return its row of the results."""
    # Each search begins without the curves of others, or they would fill the memory.
    problem = replace(_problems(case.suite, data)[case.task], _seen={})
    vars(problem)["scale"] = _keep_scale(case.suite, case.task, data, kept)
    values, length, seconds = find(case.method)(problem, case.budget, case.seed)
    return {**asdict(case), "regret": problem.regret(values, length), "seconds": seconds}


@cache
def _problems(suite: str, data: Path) -> Mapping[str, Problem]:
    return {problem.name: problem for problem in SUITES[suite](data)}


@cache
def _keep_scale(suite: str, task: str, data: Path, kept: Path) -> tuple[float, float]:
    path = kept / f"scale-{suite}-{task}.json"
    if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(replace(_problems(suite, data)[task], _seen={}).scale))
        temporary.replace(path)
    best, median = json.loads(path.read_text())
    return best, median
