"""Which kinds of techniques help together? From the recorded recipes that were drawn, not chosen.

    python -m benchmarks.search.families --space vision

A linear model explains the normalised regret (see `portfolio.py`) by task, by the optimizer, by each kind of
technique that a recipe has, and by each pair of kinds. A pair's effect is what both bring together
less what each brings alone; negative helps. Errors are clustered by recipe, recorded as it is on several tasks.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from autoaccel.techniques.registry import catalog
from benchmarks.search.portfolio import FROM, Outcomes, load
from benchmarks.search.record import RECORDED
from benchmarks.search.record_tasks import TASKS

FEWEST = 4
"""Recipes that must have a kind or a pair, and as many that must not, for its effect to be estimated."""


def kinds(flat: Mapping[str, object]) -> set[str]:
    """Return the kinds of techniques that a recipe has: the survey's categories, and the optimizer if not Adam."""
    known = catalog()
    on = [key.split(".")[1] for key in flat if key.startswith("techniques.") and key.count(".") == 1]
    found = {known[name].category for name in on if known[name].family != "system"}
    return found if "adam" in str(flat["optimizer"]) else found | {f"optimizer {flat['optimizer']}"}


@dataclass(frozen=True)
class Drawn:
    """The trainings of recipes that were drawn: one for each task and recipe.

    Args:
        names: The recipe of each.
        kinds: The kinds of techniques of each.
        regret: Its mean regret over the rungs but the lowest, less the mean of its task.
    """

    names: Sequence[str]
    kinds: Sequence[set[str]]
    regret: np.ndarray


def drawn(tasks: Sequence[Outcomes]) -> Drawn:
    """Return the drawn recipes of each task."""
    names: list[str] = []
    had: list[set[str]] = []
    regret: list[np.ndarray] = []
    for one in tasks:
        places = [place for place, key in enumerate(one.recipes) if key.startswith(("random", "mutation"))]
        keys = [list(one.recipes)[place] for place in places]
        names += [f"{one.space} {key}" for key in keys]
        had += [kinds(one.recipes[key]) for key in keys]
        found = one.regret[0, FROM:][:, places].mean(0)
        regret.append(found - found.mean())
    return Drawn(names, had, np.concatenate(regret))


def design(given: Drawn) -> dict[str, np.ndarray]:
    """Return by kind and by pair of kinds which trainings have it."""
    alone = {name: np.array([name in one for one in given.kinds]) for name in sorted(set().union(*given.kinds))}
    pairs = {f"{a} + {b}": alone[a] & alone[b] for a, b in combinations(alone, 2)}

    def recipes(which: np.ndarray) -> int:
        return len({name for name, has in zip(given.names, which, strict=True) if has})

    both = {**alone, **pairs}
    return {name: has for name, has in both.items() if min(recipes(has), recipes(~has)) >= FEWEST}


def effects(given: Drawn) -> list[tuple[str, float, float, int]]:
    """Return each effect's name, size, standard error and number of recipes."""
    columns = design(given)
    if not columns:
        return []
    x = np.stack(list(columns.values()), 1).astype(float)
    x -= x.mean(0)
    inverse = np.linalg.pinv(x.T @ x)
    sizes = inverse @ x.T @ given.regret
    pulls = x * (given.regret - x @ sizes)[:, None]
    clusters = sorted(set(given.names))
    sums = np.stack([pulls[[name == cluster for name in given.names]].sum(0) for cluster in clusters])
    freedom = len(clusters) / max(1, len(clusters) - 1 - np.linalg.matrix_rank(x))
    errors = np.sqrt(np.diag(inverse @ sums.T @ sums @ inverse) * freedom)
    counts = [len({n for n, has in zip(given.names, which, strict=True) if has}) for which in columns.values()]
    return list(zip(columns, sizes.tolist(), errors.tolist(), counts, strict=True))


def main() -> None:
    """Print the effects of kinds and pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", action="append", choices=sorted({task.space for task in TASKS.values()}))
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    given = parser.parse_args()
    spaces = given.space or sorted({task.space for task in TASKS.values()})
    tasks = [load(task.space, given.recorded, name) for name, task in TASKS.items() if task.space in spaces]
    found = drawn(tasks)
    print(f"{len(set(found.names))} drawn recipes, {len(found.names)} with their tasks; {', '.join(spaces)}\n")
    print("| kinds | recipes | effect on regret ± standard error |\n| --- | --- | --- |")
    for name, size, error, count in effects(found):
        print(f"| {name} | {count} | {size:+.2f} ± {error:.2f} |")


if __name__ == "__main__":
    main()
