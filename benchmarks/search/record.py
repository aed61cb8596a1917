"""Record trainings of the shipped search spaces, each annealed to its own budget, to simulate searches with.

    python -m benchmarks.search.record --task digits --task letter --recipes 60 --out benchmarks/search/recorded

Budgets are processor seconds of one thread on a `SteadyClock`, so that other work on the machine does not bend the
curves. All tasks of a space get the same list of recipes; one that asks for what a task lacks is left out there.

Each task has a file of JSON lines, `NAME.jsonl`, or `NAME.jsonl.gz` with `--pack`; a killed recording goes on where
it stopped. The first line holds the task: its facts, space and budgets. Every other line is a trial: its recipe
by name and flat, rung and seed; outcome and reason; the evaluations with their cost, of which the last is the end;
the passes over the data; and the scores on the test set, which are no part of its budget.
"""

import argparse
import gzip
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autoaccel.core.budget import Budget
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.events import Finished, Reported
from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.resources import Resources
from autoaccel.core.trial import Report, TrialRequest
from autoaccel.execution.base import UNDERSTOOD
from autoaccel.execution.inline import InlineExecutor
from autoaccel.search.mixed_sampler import SWITCHED, MutationChooser
from autoaccel.spaces.choosers import RandomChooser
from autoaccel.spaces.space import SearchSpace
from autoaccel.training.data.capabilities import CAPABILITIES
from benchmarks.search.record_tasks import TASKS, Recorded
from benchmarks.search.steady import SteadyClock, reference

RECORDED = Path(__file__).parent / "recorded"
QUARTERS = (0.25, 0.5, 0.75, 1.0)
CHEAP = 0.08
"""Share of a budget that evaluations at all quarters may take; dearer ones are left out but for the last."""
REPEATED = 1
"""The best known-good recipes that are trained with several seeds, beside plain."""
STEP, CHANGED = 0.15, 0.25
"""How far and how often a mutation changes a parameter: fixed, so that the recipes stay those recorded."""
SEED = 13


@dataclass(frozen=True)
class Origin:
    """A recipe of the list.

    Args:
        key: Its name, the same on all tasks of a space: `plain`, `portfolio NAME`, `random 3` or `mutation 3`.
        recipe: The recipe.
    """

    key: str
    recipe: Recipe


def recipes(space: SearchSpace) -> Iterator[Origin]:
    """Yield the recipes of a space without end, always the same: plain, known-good, then draws and mutations."""
    yield from (Origin(name, recipe) for name, recipe in PLAIN.items())
    known = {name: recipe for name, recipe in space.portfolio.items() if not space.learns(recipe)}
    yield from (Origin(f"portfolio {name}", recipe) for name, recipe in known.items())
    whole, _ = space.for_task(CAPABILITIES)  # no machine's own capabilities, such as a fast bfloat16
    parents = [fitted for recipe in known.values() if (fitted := whole.fit(recipe)) is not None]
    source, number = random.Random(SEED), 0
    while True:
        drawn = RandomChooser(source.getrandbits(32), whole.on_share)
        yield Origin(f"random {number}", whole.draw(drawn, reference=False))
        changed = MutationChooser(source.choice(parents).flat(), source, SWITCHED * whole.on_share, STEP, CHANGED)
        yield Origin(f"mutation {number}", whole.draw(changed, reference=False))
        number += 1


def fitting(space: SearchSpace, facts: TaskFacts, count: int) -> list[Origin]:
    """Return the first recipes that suit a task; the portfolio is fitted to it, as in a search."""
    offered, _ = space.for_task(facts.capabilities)
    found: list[Origin] = []
    for origin in recipes(space):
        if len(found) == count:
            break
        fitted = offered.fit(origin.recipe)
        if origin.key in PLAIN:
            found.append(origin)
        elif fitted is not None and (origin.key.startswith("portfolio") or fitted == origin.recipe):
            found.append(Origin(origin.key, fitted))
    return found


@dataclass
class Recorder:
    """Records the trials of one task.

    Args:
        name: The task's name.
        task: The task.
        folder: Where its file is.
    """

    name: str
    task: Recorded
    folder: Path

    def __post_init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.path, self.runs = self.folder / f"{self.name}.jsonl", Path(self._temporary.name)
        self.understood = self.runs / UNDERSTOOD
        made, rows = self.task.make(), read(self.path)
        self.clock = SteadyClock(reference(made), rows[0]["reference"] if rows else None)
        self.executor = InlineExecutor(made, Resources(cpu=True), self.clock, self.runs)
        catalog = self.executor.load(None)
        self.executor.profile(None)  # the first one of a process also pays for imports
        facts, _ = self.executor.profile(None)
        if not rows:
            start = {"task": self.name, "space": self.task.space, "budgets": self.task.budgets}
            start["reference"] = self.clock.nominal
            self._add({**start, "facts": to_data(facts)})
        self.facts = from_data(TaskFacts, rows[0]["facts"]) if rows else facts
        self.done = {(row["recipe"], row["rung"], row["seed"]) for row in rows[1:]}
        self.space = SearchSpace.load(self.task.space, catalog)

    def record(self, origin: Origin, rung: int, seed: int = 0) -> None:
        """Train a recipe on a rung, unless that is recorded, and append the trial to the file."""
        if (origin.key, rung, seed) in self.done:
            return
        request = self._request(origin.recipe, Budget(seconds=self.task.budgets[rung]), seed)
        self.executor.start(request)
        events = self.executor.poll(0.0)
        shutil.rmtree(self.runs / "trials", ignore_errors=True)
        reports = [event.report for event in events if isinstance(event, Reported)]
        ended = next(event.outcome for event in events if isinstance(event, Finished))
        samples = ended.cost["samples"]
        self._add(
            {
                "recipe": origin.key,
                "rung": rung,
                "seed": seed,
                "outcome": ended.kind.value,
                "reason": ended.reason,
                "curve": [_point(report) for report in reports],
                "cost": dict(reports[-1].cost if reports else ended.cost),
                "first_step": ended.first_step,
                "passes": samples / self.facts.n_train,
                "test": dict(ended.test),
                "flat": origin.recipe.flat(),
            }
        )
        self.done.add((origin.key, rung, seed))

    def _request(self, recipe: Recipe, budget: Budget, seed: int) -> TrialRequest:
        evaluation = self.facts.evaluation_cost()
        cheap = budget.share(evaluation * len(QUARTERS)) <= CHEAP
        size = recipe.batch_size.parameters.get("size", 64)
        return TrialRequest(
            trial=0,
            recipe=recipe,
            budget=budget,
            seed=seed,
            milestones=QUARTERS if cheap else (1.0,),
            test=True,
            evaluation=evaluation,
            finalization=self.facts.finalization_cost(test=False),  # the test is not part of the trial
            step=self.facts.train * self.facts.in_batch(size if isinstance(size, int | float) else 64),
        )

    def _add(self, row: dict[str, Any]) -> None:
        unpack(self.path)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _point(report: Report) -> dict[str, Any]:
    shown = {name: getattr(report, name) for name in ("progress", "metric", "loss", "standard_error")}
    return {**shown, "cost": dict(report.cost)}


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a task's file, packed or not; none if there is no file."""
    if packed(path).exists():
        return [json.loads(line) for line in gzip.decompress(packed(path).read_bytes()).splitlines()]
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def packed(path: Path) -> Path:
    """Return the path of a packed file."""
    return path.with_name(path.name + ".gz")


def pack(path: Path) -> None:
    """Replace a task's file by a packed one, the same bytes for the same lines."""
    packed(path).write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()


def unpack(path: Path) -> None:
    """Replace a packed file, if there is one, by one to which lines can be added."""
    if packed(path).exists():
        path.write_bytes(gzip.decompress(packed(path).read_bytes()))
        packed(path).unlink()


def main() -> None:
    """Record the tasks recipe by recipe, so that what exists at any time is useful."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=list(TASKS), help="Repeat for several; all by default")
    parser.add_argument("--recipes", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1, help="Of plain and some known-good ones, at the top")
    parser.add_argument("--out", type=Path, default=RECORDED)
    parser.add_argument("--pack", action="store_true", help="Pack the files at the end")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    recorders = [Recorder(name, TASKS[name], given.out) for name in given.task or TASKS]
    record_all(recorders, given.recipes)
    for recorder in recorders:
        record_seeds(recorder, given.recipes, given.seeds)
        if given.pack:
            pack(recorder.path)


def record_all(recorders: Sequence[Recorder], count: int) -> None:
    """Record `count` recipes of each task, the first one of all tasks first, each on all rungs."""
    lists = [(recorder, fitting(recorder.space, recorder.facts, count)) for recorder in recorders]
    for place in range(count):
        for recorder, origins in lists:
            if place >= len(origins):
                continue
            for rung in range(len(recorder.task.budgets)):
                recorder.record(origins[place], rung)
            used = time.process_time()
            print(f"{used:7.0f} s  {recorder.name:12} {place + 1}/{count} {origins[place].key}", flush=True)


def record_seeds(recorder: Recorder, count: int, seeds: int) -> None:
    """Record plain and the known-good recipes that are best on the top rung with further seeds there."""
    top = len(recorder.task.budgets) - 1
    scores = {
        row["recipe"]: row["curve"][-1]["loss"]
        for row in read(recorder.path)[1:]
        if row["rung"] == top and row["seed"] == 0 and row["outcome"] == "complete"
    }
    known = sorted((key for key in scores if key.startswith("portfolio")), key=lambda key: scores[key])
    chosen = {*PLAIN, *known[:REPEATED]}
    for origin in fitting(recorder.space, recorder.facts, count):
        for seed in range(1, seeds if origin.key in chosen else 1):
            recorder.record(origin, top, seed)


if __name__ == "__main__":
    main()
