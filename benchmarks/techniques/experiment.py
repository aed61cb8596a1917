"""Compare recipes with plain training, paired by seed: shared code of the experiments."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import mean, median, stdev

from runner import OUT, Job, Results, run_jobs
from scipy.stats import t as student

from autoaccel.core.budget import Budget
from autoaccel.core.machine import usable_cpus
from autoaccel.core.recipe import PLAIN, Recipe


def with_techniques(**techniques: Mapping[str, object]) -> Recipe:
    """Return the plain recipe with some techniques added."""
    return replace(PLAIN["plain"], techniques=techniques)


Pairs = Sequence[tuple[dict, dict]]
"""The results of two recipes, one pair per seed."""


def paired(pairs: Pairs, sign: int) -> tuple[float, float]:
    """Return the mean test-metric gain of the first and half of its 95 % interval (Student's t); more is better."""
    gains = [sign * (one["test"]["metric"] - other["test"]["metric"]) for one, other in pairs]
    if len(gains) < 2:
        return (gains[0] if gains else 0.0), 0.0
    return mean(gains), student.ppf(0.975, len(gains) - 1) * stdev(gains) / len(gains) ** 0.5


def ratio(pairs: Pairs, account: str) -> float:
    """Return the median ratio of the costs in one quantity."""
    return median(one["cost"][account] / other["cost"][account] for one, other in pairs) if pairs else 0.0


class Experiment:
    """Trains every recipe on every task and prints a table.

    Args:
        file: The Python file that defines the tasks.
        name: Name of the results file, without its suffix.
        tasks: Names of the tasks, each with 1 if a larger metric is better, else -1.
        recipes: Recipes by name; `uniform`, the plain one, is added.
    """

    def __init__(self, file: str, name: str, tasks: Mapping[str, int], recipes: Mapping[str, Recipe]):
        self.file, self.tasks = file, tasks
        self.recipes = {"uniform": PLAIN["plain"], **recipes}
        self.results = Results(OUT / f"{name}.jsonl")

    def run(self, budgets: Mapping[str, Iterable[Budget]], seeds: int) -> None:
        """Run the missing trainings and print one row per recipe, task and budget."""
        print("| task | budget | recipe | test metric | gain | seconds | FLOPs |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for task, sign in self.tasks.items():
            for budget in budgets[task]:
                jobs = [
                    Job(f"{task}/{budget}/{name}/{seed}", recipe, budget, seed)
                    for seed in range(seeds)
                    for name, recipe in self.recipes.items()
                ]
                workers = 1 if budget.seconds else usable_cpus()
                run_jobs(f"{self.file}:{task}", jobs, self.results, workers, f"{task}, {budget}")
                for name in self.recipes:
                    print(self.row(task, sign, budget, name, seeds), flush=True)

    def row(self, task: str, sign: int, budget: Budget, name: str, seeds: int) -> str:
        """Return the table row that compares a recipe with uniform sampling."""
        rows = self.results.rows
        both = [
            (rows[f"{task}/{budget}/{name}/{seed}"], rows[f"{task}/{budget}/uniform/{seed}"])
            for seed in range(seeds)
        ]
        pairs = [pair for pair in both if all(row["kind"] == "complete" for row in pair)]
        if not pairs:
            reasons = {one["reason"] or one["kind"] for one, _ in both}
            return f"| {task} | {budget} | {name} | none: {'; '.join(sorted(reasons))} | | | |"
        gain, half = paired(pairs, sign)
        metric = mean(one["test"]["metric"] for one, _ in pairs)
        spent = [f"x {ratio(pairs, account):.2f}" for account in ("seconds", "flops")]
        return f"| {task} | {budget} | {name} | {metric:.4f} | {gain:+.4f} ± {half:.4f} | {' | '.join(spent)} |"


def arguments(description: str) -> argparse.Namespace:
    """Parse the options that all experiments share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="Factor on all budgets")
    return parser.parse_args()
