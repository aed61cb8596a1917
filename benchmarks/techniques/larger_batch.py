"""What larger batches bring where more devices take steps of them in the same time, by how the rate is scaled.

    python benchmarks/techniques/larger_batch.py --seeds 3

Each recipe is trained for the same number of steps with its own batch, and with batches 2, 4 and 8 times as large,
its learning rates kept, or scaled with the square root of that, or with it. Numbers are gains of the test metric
over the recipe's own batch, paired by seed, with 95 % intervals.
"""

import math
from dataclasses import replace
from itertools import product
from statistics import mean

from experiment import arguments, paired
from runner import OUT, Job, Results, run_jobs
from tasks import image, regression, table, text  # noqa: F401  what the trainings load

from autoaccel.core.budget import Budget
from autoaccel.core.machine import usable_cpus
from autoaccel.core.recipe import Choice, Recipe

STEPS = {"image": 200, "text": 250, "table": 1000, "regression": 1000}
RATES = ("lr", "adam_lr")
POWERS = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}
TIMES = (2, 4, 8)
OWN = (1, "none")
OPTIMIZERS = {
    "adamw": (Choice("adamw", {"lr": 3e-3, "weight_decay": 0.05, "beta2": 0.99}), ("none", "sqrt")),
    "muon": (Choice("muon", {"lr": 0.02, "adam_lr": 4e-3, "weight_decay": 0.1}), ("none", "sqrt")),
    "sgd": (Choice("sgd", {"lr": 0.03, "momentum": 0.9, "weight_decay": 5e-4}), ("none", "sqrt", "linear")),
}
SIZES = {"image": 32, "text": 16, "table": 32, "regression": 32}


def recipe(optimizer: Choice, size: int, times: int, rule: str) -> Recipe:
    """Return a recipe with a batch so many times as large."""
    rates = {name: lr * times ** POWERS[rule] for name, lr in optimizer.parameters.items() if name in RATES}
    scaled = replace(optimizer, parameters={**optimizer.parameters, **rates})
    batches = Choice("constant_batch", {"size": size * times})
    return Recipe(optimizer=scaled, learning_rate=Choice("linear", {"warmup": 0.1}), batch_size=batches)


def rows(results: Results, task: str, budget: Budget, name: str, case: tuple[int, str], seeds: int) -> list[dict]:
    """Return the results of a recipe, one for each seed."""
    return [results.rows[key(task, budget, name, case, seed)] for seed in range(seeds)]


def key(task: str, budget: Budget, name: str, case: tuple[int, str], seed: int) -> str:
    """Return the name of a training."""
    return "/".join(map(str, (task, budget, name, *case, seed)))


def gain(task: str, others: list[dict], own: list[dict]) -> str:
    """Return what one recipe gains over another on the test set."""
    both = zip(others, own, strict=True)
    pairs = [(a, b) for a, b in both if a["kind"] == b["kind"] == "complete"]
    if not pairs:
        return "does not train"
    gained, half = paired(pairs, -1 if task == "text" else 1)
    return f"{gained:+.4f} ± {half:.4f}{'' if len(pairs) == len(own) else f' ({len(pairs)} of {len(own)})'}"


def main() -> None:
    """Train, and print a row for each task and optimizer."""
    given = arguments((__doc__ or "").splitlines()[0])
    results, cases = Results(OUT / "larger_batch.jsonl"), [*product(TIMES, POWERS)]
    print("| task | optimizer | own batch |" + "".join(f" {times} x, {rule} |" for times, rule in cases))
    print("| --- " * (3 + len(cases)) + "|", flush=True)
    for task, (name, (optimizer, rules)) in product(STEPS, OPTIMIZERS.items()):
        budget = Budget(steps=round(given.scale * STEPS[task]))
        wanted = [OWN, *(case for case in cases if case[1] in rules)]
        jobs = [
            Job(key(task, budget, name, case, seed), recipe(optimizer, SIZES[task], *case), budget, seed)
            for case, seed in product(wanted, range(given.seeds))
        ]
        run_jobs(f"{__file__}:{task}", jobs, results, usable_cpus(), f"{task}, {name}")
        found = {case: rows(results, task, budget, name, case, given.seeds) for case in wanted}
        own = [row["test"]["metric"] if row["kind"] == "complete" else math.nan for row in found[OWN]]
        columns = [gain(task, found[case], found[OWN]) if case in found else "" for case in cases]
        print(f"| {task} | {name} | {mean(own):.4f} | {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
