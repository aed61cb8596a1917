"""Compare each technique alone with plain training on four tasks, at equal FLOPs and equal seconds, paired by seed.

    python benchmarks/techniques/table.py                        # about 90 minutes on two cores
    python benchmarks/techniques/table.py --scale 4 --seeds 10   # effects about a third as large are seen

Trainings with a budget in FLOPs run in parallel, one thread each. Those with a budget in seconds run one at a
time, and only for techniques whose seconds and FLOPs diverge: those of the family system, and those that took 1.3
times the seconds of plain training or more, or 0.77 times or less, for the same FLOPs. Results are kept in
runs/techniques and reused; `--write` puts the rows into autoaccel/effects.json.
"""

import argparse
import json
import tempfile
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, median

from experiment import paired, ratio
from runner import OUT, Job, Results, run_jobs

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import REFERENCE, Catalog, TechniqueInfo, check
from autoaccel.core.clock import SystemClock
from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import usable_cpus
from autoaccel.core.recipe import PLAIN, Choice, Recipe
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import Reference
from autoaccel.execution.local.supervisor import Supervisor
from autoaccel.techniques.effects import FILE, Effect

HERE = Path(__file__).parent
FLOPS = {"image": 6.6e11, "text": 5.4e11, "table": 3.5e10, "regression": 2.8e10}
"""About 600, 450, 1,500 and 1,250 steps of plain training."""
SECONDS = {"image": 6.0, "text": 6.0, "table": 3.0, "regression": 3.0}
APART = 1.3
CORES = usable_cpus()
LEFT_OUT = {"table": {"adamw8bit"}, "regression": {"adamw8bit"}}
"""On a CPU, a torchao step without compiled kernels takes a tenth of a second, too long for thousands of steps."""
SET = {"decoupled": {"vectors": 4.0}}
"""Parameters for techniques whose defaults do not change plain training."""
TEACHER_SEED = 1000
NOT_TIMED = {"text": {"compile"}, "table": {"compile"}, "regression": {"compile"}}
"""Compilation takes longer than these budgets; images are enough to show that it does not fit."""


def alone(base: Recipe, info: TechniqueInfo) -> Recipe:
    """Return the plain recipe with one technique, at its default parameters if these have an effect."""
    if info.component:
        return replace(base, **{info.component: Choice(info.name)})
    if info.name in SET:
        # Make the plain optimizer treat vectors and matrices differently.
        apart = Choice(base.optimizer.name, {**base.optimizer.parameters, "decay_all": False})
        return replace(base, optimizer=apart, techniques={info.name: SET[info.name]})
    return replace(base, techniques={info.name: {}})


def recipes(catalog: Catalog, facts: TaskFacts, base: str) -> dict[str, Recipe]:
    """Return the recipes of the techniques that apply to a task, by technique name."""
    other = next(name for name in PLAIN if name != base)
    found = {}
    for name, info in catalog.items():
        applies = info.available and info.requires <= facts.capabilities | {REFERENCE}
        if not applies or name in ("linear", "constant_batch"):
            continue
        recipe = alone(PLAIN[base], info)
        # An optimizer with its own schedule needs a constant learning rate.
        found[name] = alone(PLAIN[other], info) if check(recipe.chosen(), catalog) else recipe
    return found


class TaskTable:
    """The rows of one task.

    Args:
        task: Its name in tasks.py.
        scale: Factor for its budgets.
        seeds: Number of seeds per recipe.
        results: The results so far.
    """

    def __init__(self, task: str, scale: float, seeds: int, results: Results):
        self.task, self.seeds, self.results = task, range(seeds), results
        self.target = f"{HERE / 'tasks.py'}:{task}"
        self.budgets = {
            "flops": Budget(flops=scale * FLOPS[task]),
            "seconds": Budget(seconds=scale * SECONDS[task]),
        }

    def look(self) -> None:
        """Get the task's facts and the catalog of techniques."""
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(Supervisor(TaskRef(self.target), Resources(), SystemClock(), Path(folder))) as executor,
        ):
            self.catalog = executor.load(None)
            self.facts, _ = executor.profile(None)

    def train(self, equal: str, names: dict[str, Recipe]) -> None:
        """Run all trainings of some recipes."""
        learns = {n for n in names if REFERENCE in self.catalog.get(n, TechniqueInfo(n, "", "")).requires}
        reference = self.teacher() if learns else None
        jobs = [
            Job(
                self.key(equal, name, seed),
                recipe,
                self.budgets[equal],
                seed,
                reference if name in learns else None,
            )
            for seed in self.seeds
            for name, recipe in names.items()
        ]
        # Timed trainings run alone; the others share the cores, which does not affect their scores.
        workers = 1 if equal == "seconds" else CORES
        run_jobs(self.target, jobs, self.results, workers, f"{self.task}, equal {equal}")

    def teacher(self) -> Reference:
        """Return a finished plain model, for the techniques that learn from one; train it if missing."""
        key = self.key("flops", "teacher", TEACHER_SEED)
        folder = OUT / f"teacher-{self.task}-{self.budgets['flops']}".replace(" ", "-")
        run_jobs(
            self.target,
            [Job(key, PLAIN["plain"], self.budgets["flops"], TEACHER_SEED)],
            self.results,
            CORES,
            f"{self.task}, a finished model",
            str(folder),
        )
        return Reference(PLAIN["plain"], weights=str(folder / "trials" / "0000" / "model.safetensors"))

    def key(self, equal: str, name: str, seed: int) -> str:
        """Return the key of a training."""
        return f"{self.task}/{self.budgets[equal]}/{name}/{seed}"

    def rows(self, equal: str, name: str) -> dict[int, dict]:
        """Return the completed trainings of a recipe by seed."""
        found = {seed: self.results.rows.get(self.key(equal, name, seed), {}) for seed in self.seeds}
        return {seed: row for seed, row in found.items() if row.get("kind") == "complete"}

    def plain(self, equal: str) -> str:
        """Return the name of the better plain recipe."""
        sign = 1 if self.facts.maximize else -1
        return max(
            PLAIN, key=lambda form: sign * mean(r["test"]["metric"] for r in self.rows(equal, form).values())
        )

    def apart(self, names: dict[str, Recipe]) -> list[str]:
        """Return the techniques whose seconds and FLOPs diverge."""
        found = []
        for name in names.keys() - NOT_TIMED.get(self.task, set()):
            effect = self.effect("flops", name)
            system = name in self.catalog and self.catalog[name].family == "system"
            if system or (effect.seeds > 1 and not 1 / APART < effect.seconds < APART):
                found.append(name)
        return sorted(found)

    def effect(self, equal: str, name: str) -> Effect:
        """Return the paired comparison of a technique with plain training."""
        sign = 1 if self.facts.maximize else -1
        ours, plain = self.rows(equal, name), self.rows(equal, self.plain(equal))
        pairs = [(ours[seed], plain[seed]) for seed in self.seeds if seed in ours and seed in plain]
        gain, half = paired(pairs, sign)
        failed = [self.results.rows.get(self.key(equal, name, seed), {}) for seed in self.seeds if seed not in ours]
        reasons = {f"{row.get('kind', 'not run')}: {row.get('reason', '')}".strip(": ") for row in failed}
        learns = name in self.catalog and REFERENCE in self.catalog[name].requires
        notes = [f"{len(failed)} of {len(self.seeds)} {reason}" for reason in sorted(reasons)]
        notes += ["the finished model that it learns from came free"] if learns else []
        notes += [f"{parameter} {number:g}" for parameter, number in SET.get(name, {}).items()]
        budget = self.budgets[equal]
        return Effect(
            technique=name,
            task=self.task,
            budget=str(budget),
            equal=equal,
            metric=self.facts.metric.replace("neg_", "").replace("_", " "),
            seeds=len(pairs),
            gain=gain,
            half=half,
            seconds=ratio(pairs, "seconds"),
            flops=ratio(pairs, "flops"),
            note="; ".join(notes),
        )


def measure(task: str, scale: float, seeds: int, only: set[str], timed: bool) -> list[Effect]:
    """Run the missing trainings of a task's table and return its rows."""
    table = TaskTable(task, scale, seeds, Results(OUT / f"table-{task}.jsonl"))
    table.look()
    table.train("flops", dict(PLAIN))
    base = table.plain("flops")
    names = recipes(table.catalog, table.facts, base)
    names = {n: r for n, r in names.items() if n not in LEFT_OUT.get(task, ()) and (not only or n in only)}
    table.train("flops", names)
    effects = [table.effect("flops", name) for name in names]
    print(f"{task}: the better form of plain training is {base}", flush=True)
    if timed:
        table.train("seconds", dict(PLAIN))
        chosen = table.apart(names)
        timed_names = recipes(table.catalog, table.facts, table.plain("seconds"))
        table.train("seconds", {name: timed_names[name] for name in chosen})
        effects += [table.effect("seconds", name) for name in chosen]
    return effects


def main() -> None:
    """Measure and print the tables; write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(FLOPS), choices=list(FLOPS))
    parser.add_argument("--only", nargs="+", default=[], help="These techniques, not all")
    parser.add_argument("--scale", type=float, default=1.0, help="Factor on all budgets")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--no-seconds", action="store_true", help="Leave the timed part for later")
    parser.add_argument("--write", action="store_true", help="Put the table into the package")
    given = parser.parse_args()
    effects = []
    for task in given.tasks:
        effects += measure(task, given.scale, given.seeds, set(given.only), not given.no_seconds)
    for effect in effects:
        print(f"{effect.technique:24} {effect.task:10} {effect.budget:>14}  {effect}")
    for task in given.tasks:
        halves = [e.half for e in effects if e.task == task and e.equal == "flops" and e.seeds > 1]
        if halves:
            print(f"{task}: effects below about {median(halves):.4f} are not seen (half of an interval, median)")
    if given.write:
        write(effects)


def write(effects: list[Effect]) -> None:
    """Write rows to the package, replacing those with the same technique, task and budget."""
    path = HERE.parents[1] / "autoaccel" / FILE
    rows = [asdict(effect) for effect in effects]
    named = {_name(row) for row in rows}
    kept = [row for row in json.loads(path.read_text()) if _name(row) not in named] if path.exists() else []
    rows = sorted(kept + rows, key=lambda row: list(FLOPS).index(row["task"]))
    path.write_text(json.dumps(rows, indent=1) + "\n")


def _name(row: dict) -> tuple[str, str, str]:
    return row["technique"], row["task"], row["budget"]


if __name__ == "__main__":
    main()
