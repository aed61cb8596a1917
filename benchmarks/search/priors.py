"""Estimate from recorded trainings what a forecast knows of a task before anything is trained.

    python -m benchmarks.search.priors

writes `autoaccel/tuner/forecast_prior.json`; see `autoaccel/tuner/forecast_prior.py` for what it means.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import autoaccel.tuner
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.facts import TaskFacts
from autoaccel.search.scale import Scale
from autoaccel.tuner.forecast_prior import FILE, Effects, Prior, Recorded
from benchmarks.search.record import RECORDED, read

FROM = 1
"""The first rung that counts: on the lowest one, trainings of a few dozen steps show how fast a recipe starts."""
LEAST_SPREAD = 0.3
"""Share of an observed spread that is kept where noise explains all of it."""


@dataclass(frozen=True)
class Curves:
    """The recorded levels of a task, smaller is better.

    Args:
        name: Its name.
        facts: Its facts.
        scale: What the levels are levels of.
        levels: Levels by recipe, one per rung; NaN for a trial that failed.
        errors: Standard error of a level on each rung, median over the recipes.
        repeats: Differences between two seeds, in standard errors of a level.
        lengths: The budgets of the rungs, in seconds.
    """

    name: str
    facts: TaskFacts
    scale: Scale
    levels: Mapping[str, np.ndarray]
    errors: np.ndarray
    repeats: Sequence[float]
    lengths: Sequence[float]


def curves(folder: Path = RECORDED) -> list[Curves]:
    """Return all recorded tasks."""
    return [_curves(read(path.with_suffix("")), path) for path in sorted(folder.glob("*.jsonl.gz"))]


def _curves(rows: list[dict[str, Any]], path: Path) -> Curves:
    facts, lengths = from_data(TaskFacts, rows[0]["facts"]), rows[0]["budgets"]
    sign = -1.0 if facts.maximize else 1.0
    done = [(row, row["curve"][-1]) for row in rows[1:] if row["outcome"] == "complete"]
    scale = Scale.of([sign * end["metric"] for _, end in done], facts)
    levels: dict[str, np.ndarray] = defaultdict(lambda: np.full(len(lengths), math.nan))
    errors: dict[int, list[float]] = defaultdict(list)
    repeats = []
    for row, end in done:
        rung, score = row["rung"], sign * end["metric"]
        level, error = scale.level(score), scale.error(score, end["standard_error"] or 0.0)
        if row["seed"]:
            repeats.append((level - levels[row["recipe"]][rung]) / error)
        else:
            levels[row["recipe"]][rung] = level
            errors[rung].append(error)
    middle = np.array([np.median(errors[rung]) for rung in range(len(lengths))])
    return Curves(path.name.split(".")[0], facts, scale, dict(levels), middle, repeats, lengths)


def prior(tasks: Sequence[Curves]) -> Prior:
    """Return what tasks say about others."""
    alike = math.sqrt(np.mean([r**2 for task in tasks for r in task.repeats]) / 2)
    tops = range(FROM + 1, len(tasks[0].lengths))
    recorded = tuple(_seen_from(task, top, alike) for task in tasks for top in tops)
    plain = [task.levels["plain"] for task in tasks]
    steps = np.array([np.diff(levels)[FROM - 1 :] for levels in plain])
    before, after = steps[:, :-1].ravel(), steps[:, 1:].ravel()
    damping = float((before * after).sum() / (before**2).sum())
    doubt = math.sqrt(float(np.average((after / before - damping) ** 2, weights=before**2)))
    return Prior(recorded, round(_kept(tasks, alike), 3), round(damping, 3), round(doubt, 3))


def _seen_from(task: Curves, top: int, alike: float) -> Recorded:
    plain, constant = task.levels["plain"], task.levels["plain_constant"]
    steps = tuple(float(step) for step in np.diff(plain)[FROM - 1 : top][::-1])
    noise = alike * float(task.errors[top])
    other = (constant - plain)[[top, top - 1]]
    known, new = (_effects(task, top, alike, known) for known in (True, False))
    facts = task.facts
    return Recorded(task.name, facts.kind, float(plain[top]), steps, (float(other[0]), float(other[1])), known, new,
                    noise, facts.n_valid)  # fmt: skip


def effects(task: Curves, known: bool | None = None) -> np.ndarray:
    """Return what recipes add to plain, shape [recipes, rungs]; `known` selects the portfolio or the others."""
    others = [key for key in task.levels if not key.startswith("plain")]
    chosen = [key for key in others if known in (None, key.startswith("portfolio"))]
    return np.array([task.levels[key] - task.levels["plain"] for key in chosen])


def _effects(task: Curves, top: int, alike: float, known: bool) -> Effects:
    found = effects(task, known)[:, [top, top - 1]]
    observed, noise = np.nanstd(found, axis=0, ddof=1), alike * task.errors[[top, top - 1]]
    spread = np.sqrt(np.maximum(observed**2 - noise**2, (LEAST_SPREAD * observed) ** 2))
    mean = np.nanmean(found, axis=0)
    return Effects((float(mean[0]), float(mean[1])), (float(spread[0]), float(spread[1])))


def _kept(tasks: Sequence[Curves], alike: float) -> float:
    """Return the correlation of effects one rung apart, over all tasks, without the noise."""
    shared, own = 0.0, 0.0
    for task in tasks:
        found = effects(task)[:, FROM:]
        found = found[np.isfinite(found).all(axis=1)]
        found = (found - found.mean(axis=0)) / found.std(axis=0)
        noise = (alike * task.errors[FROM:] / effects(task)[:, FROM:].std(axis=0)) ** 2
        for low in range(found.shape[1] - 1):
            shared += float((found[:, low] * found[:, low + 1]).mean())
            own += (
                math.sqrt(max(0.1, 1 - noise[low]) * max(0.1, 1 - noise[low + 1]))
                if np.isfinite(noise).all()
                else 1
            )
    return min(0.99, max(0.0, shared / own))


def main() -> None:
    """Write the file."""
    path = Path(autoaccel.tuner.__file__).parent / FILE
    data = {"made by": "python -m benchmarks.search.priors", **to_data(prior(curves()))}
    rounded = json.loads(json.dumps(data), parse_float=lambda text: round(float(text), 4))
    path.write_text(json.dumps(rounded, indent=1) + "\n")
    print(f"{path}: kept {data['kept']}, damping {data['damping']} +- {data['doubt']}")


if __name__ == "__main__":
    main()
