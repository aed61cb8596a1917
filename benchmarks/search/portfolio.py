"""Choose the known-good recipes of a space from recorded trainings, and check them on tasks not used to choose.

    python -m benchmarks.search.portfolio --space vision --size 9 --yaml

Regret is normalised for each task and rung: 0 is the best recorded recipe there, 1 is plain with the same budget;
at most 2, which a recipe also gets that failed. The best of several is chosen by its validation score, and judged
by its test score.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from autoaccel.core.recipe import PLAIN, Recipe
from benchmarks.search.record import RECORDED, read
from benchmarks.search.record_tasks import TASKS

MOST = 2.0
"""Regret of a failed recipe, and the most that any gets."""
FROM = 1
"""The first rung that counts: on the lowest one, trainings of a few dozen steps show how fast a recipe starts."""
DRAWS = 300
SHOWN = (1, 2, 3, 5)
"""Sizes of a portfolio in the table."""


@dataclass(frozen=True)
class Outcomes:
    """Recipes that are recorded on all rungs of all tasks of a space.

    Args:
        space: The space's name.
        tasks: Its recorded tasks.
        recipes: Flat recipes by name, the portfolio in its shipped order.
        valid: Validation scores, smaller is better, infinite if failed; shape [tasks, rungs, recipes].
        test: Test scores in the same form.
        error: Standard error of the test score of plain, shape [tasks, rungs].
    """

    space: str
    tasks: tuple[str, ...]
    recipes: Mapping[str, Mapping[str, Any]]
    valid: np.ndarray
    test: np.ndarray
    error: np.ndarray

    @property
    def regret(self) -> np.ndarray:
        """Normalised regret in [0, 2] on test, shape [tasks, rungs, recipes]."""
        best = self.test.min(-1, keepdims=True)
        plain = self.test[..., list(self.recipes).index("plain")][..., None]
        # Where plain is as good as the best, differences within the noise must not count as large.
        scale = np.maximum(plain - best, self.error[..., None])
        return np.minimum((self.test - best) / scale, MOST)


def load(space: str, folder: Path = RECORDED, only: str = "") -> Outcomes:
    """Read the recorded tasks of a space, or only one of them.

    Raises:
        SystemExit: If there are none.
    """
    files = {name: read(folder / f"{name}.jsonl") for name, task in TASKS.items() if task.space == space}
    files = {name: rows for name, rows in files.items() if rows and only in ("", name)}
    if not files:
        raise SystemExit(f"{folder} has no recorded task of the space {space}; python -m benchmarks.search.record")
    rungs = len(next(iter(files.values()))[0]["budgets"])
    by_task = [
        {(row["recipe"], row["rung"]): row for row in rows[1:] if not row["seed"]} for rows in files.values()
    ]
    signs = [-1.0 if rows[0]["facts"]["maximize"] else 1.0 for rows in files.values()]
    keys = [key for key, _ in by_task[0]]
    whole = [k for k in dict.fromkeys(keys) if all((k, rung) in rows for rows in by_task for rung in range(rungs))]
    # A known-good recipe is fitted to each task; that with the most parameters is closest to what is shipped.
    recipes = {key: max((rows[key, 0]["flat"] for rows in by_task), key=len) for key in whole}

    def table(read_score: Callable[[dict[str, Any]], float | None]) -> np.ndarray:
        scores = [
            [[_signed(sign, rows[key, rung], read_score) for key in whole] for rung in range(rungs)]
            for sign, rows in zip(signs, by_task, strict=True)
        ]
        return np.asarray(scores)

    error = [[rows["plain", rung]["test"]["standard_error"] for rung in range(rungs)] for rows in by_task]
    valid, test = table(lambda row: row["curve"][-1]["metric"]), table(lambda row: row["test"]["metric"])
    return Outcomes(space, tuple(files), recipes, valid, test, np.asarray(error))


def _signed(sign: float, row: dict[str, Any], score: Callable[[dict[str, Any]], float | None]) -> float:
    found = score(row) if row["outcome"] == "complete" else None
    return np.inf if found is None else sign * found


def best_of(outcomes: Outcomes, chosen: Sequence[int]) -> np.ndarray:
    """Return the regret of the recipe of these that validates best, shape [tasks, rungs]."""
    places = np.asarray(chosen)
    picked = places[outcomes.valid[..., places].argmin(-1)]
    return np.take_along_axis(outcomes.regret, picked[..., None], -1)[..., 0]


def greedy(outcomes: Outcomes, tasks: Sequence[int], size: int, candidates: Sequence[int]) -> list[int]:
    """Return recipes, best first, each of which lowers the mean regret over tasks and rungs the most."""
    chosen: list[int] = []
    for _ in range(min(size, len(candidates))):
        left = [place for place in candidates if place not in chosen]
        means = {place: best_of(outcomes, [*chosen, place])[list(tasks), FROM:].mean() for place in left}
        chosen.append(min(left, key=means.__getitem__))
    return chosen


def unseen(outcomes: Outcomes, size: int, candidates: Sequence[int]) -> list[list[int]]:
    """Return for each task the portfolio that is picked on the others."""
    tasks = range(len(outcomes.tasks))
    return [greedy(outcomes, [t for t in tasks if t != task], size, candidates) for task in tasks]


def table(outcomes: Outcomes, size: int) -> list[str]:
    """Return the lines of a table: regret of the best of the first recipes, over tasks and rungs but the lowest."""
    keys = list(outcomes.recipes)
    candidates = [place for place, key in enumerate(keys) if key not in PLAIN]
    shipped = [place for place, key in enumerate(keys) if key.startswith("portfolio")]
    drawn = [place for place, key in enumerate(keys) if key.startswith("random")]
    source = np.random.default_rng(0)
    orders = [source.permutation(drawn) for _ in range(DRAWS)]
    ways: dict[str, Callable[[int], np.ndarray]] = {
        "plain": lambda count: best_of(outcomes, [keys.index("plain")]),
        "shipped order": lambda count: best_of(outcomes, shipped[:count]),
        "shipped recipes, order picked on all tasks": lambda count: best_of(
            outcomes, greedy(outcomes, range(len(outcomes.tasks)), count, shipped)
        ),
        "picked on all tasks": lambda count: best_of(
            outcomes, greedy(outcomes, range(len(outcomes.tasks)), count, candidates)
        ),
    }
    if len(drawn) >= max(SHOWN):
        ways["random draws"] = lambda count: np.concatenate([best_of(outcomes, o[:count]) for o in orders])
    if len(outcomes.tasks) > 1:
        for name, offered in (("picked without the task", candidates), ("same, of the shipped only", shipped)):
            ways[name] = _held_out(outcomes, offered)
    counts = [count for count in SHOWN if count <= min(size, len(shipped))]
    lines = [
        f"| {outcomes.space} | {name} | {' | '.join(_shown(way(count)) for count in counts)} |"
        for name, way in ways.items()
    ]
    head = (
        "| space | portfolio | "
        + " | ".join(f"best of {count}: median (quartiles); mean on top" for count in counts)
        + " |"
    )
    return [head, "| --- | --- |" + " --- |" * len(counts), *lines]


def _held_out(outcomes: Outcomes, offered: Sequence[int]) -> Callable[[int], np.ndarray]:
    def regret(count: int) -> np.ndarray:
        picked = unseen(outcomes, count, offered)
        return np.stack([best_of(outcomes, chosen)[task] for task, chosen in enumerate(picked)])

    return regret


def _shown(regret: np.ndarray) -> str:
    low, middle, high = np.quantile(regret[:, FROM:], (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f}); {regret[:, -1].mean():.2f}"


def main() -> None:
    """Print the evidence and the recipes picked on all tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", action="append", choices=sorted({task.space for task in TASKS.values()}))
    parser.add_argument("--size", type=int, default=5)
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    parser.add_argument("--yaml", action="store_true", help="Print the recipes as the space's file has them")
    given = parser.parse_args()
    for space in given.space or sorted({task.space for task in TASKS.values()}):
        outcomes = load(space, given.recorded)
        keys = list(outcomes.recipes)
        candidates = [place for place, key in enumerate(keys) if key not in PLAIN]
        print(f"\n{space}: {', '.join(outcomes.tasks)}; {len(keys)} recipes on all rungs of each\n")
        print("\n".join(table(outcomes, given.size)))
        print()
        for place in greedy(outcomes, range(len(outcomes.tasks)), given.size, candidates):
            data = Recipe.from_flat(outcomes.recipes[keys[place]]).to_data()
            shown = yaml.safe_dump(data, default_flow_style=True, sort_keys=False, width=1000).strip()
            print(f"{keys[place]}: {shown}" if given.yaml else keys[place])


if __name__ == "__main__":
    main()
