"""Are truncated trainings that resume better than annealed restarts, at equal total cost? On recorded tasks.

    python -m benchmarks.search.resume_or_restart --task fashion --task shakespeare --recipes 24

Every recipe was recorded on all rungs, annealed to each. Here it is trained once more with a constant learning
rate, long enough for all rungs, and evaluated where each rung ends: directly, and after a cooldown of 15 % in a
branch, as a training does that is asked to finish early. The table compares what each says about the annealed value
at the top, and what halving by three picks with it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from autoaccel.core.budget import Budget
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.trial import COOLDOWN, Outcome, Report, TrialRequest
from autoaccel.training.data.understanding import Understanding
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment
from benchmarks.search.record import RECORDED, Origin, Recorder, fitting, read
from benchmarks.search.record_tasks import TASKS

WARM = 0.5
"""Length of the trunk's warm-up, in budgets of the lowest rung: what comes after it is not known then."""
WAYS = ("restart", "truncated", "branch")
DRAWS = 4000
TRIALS = (6, 9)
"""Recipes on the lowest rung of restarts; the other ways try as many as cost the same."""


class Trunk:
    """Trains recipes with a constant learning rate, and cools them down where a rung ends.

    Args:
        recorder: The task, with its profile.
    """

    def __init__(self, recorder: Recorder):
        self._recorder, self._clock = recorder, recorder.clock
        self._task = recorder.task.make()
        self._found = Understanding.load(recorder.understood)

    def values(self, origin: Origin) -> dict[str, Any]:
        """Return the validation scores at the end of each rung by way, and the test score at the very end."""
        budgets = self._recorder.task.budgets
        whole = (1 + COOLDOWN) * budgets[-1]
        shares = [budget / whole for budget in budgets]
        outcome, reports = self._train(origin.recipe, whole, shares[-1], [*shares, 1.0])
        values = [_scores(report) for report in reports]
        branches = [self._branch(origin.recipe, whole, budget) for budget in budgets[:-1]]
        return {
            "recipe": origin.key,
            "truncated": (values + [None] * 5)[:4],
            "branch": [*branches, values[4] if len(values) > 4 else None],
            "test": dict(outcome.test),
            "seconds": outcome.cost["seconds"],
        }

    def _branch(self, recipe: Recipe, whole: float, budget: float) -> dict[str, float | None] | None:
        end = self._clock.now() + budget
        _, reports = self._train(recipe, whole, budget / whole, [1.0], end)
        return _scores(reports[-1]) if reports else None

    def _train(
        self, recipe: Recipe, whole: float, constant: float, milestones: Sequence[float], end: float = float("inf")
    ) -> tuple[Outcome, list[Report]]:
        """Train with a learning rate that is constant up to a progress; from `end` on, finish early."""
        facts, reports = self._recorder.facts, []
        warmup = WARM * self._recorder.task.budgets[0] / whole
        wsd = Choice("wsd", {"warmup": warmup, "cooldown": 1 - constant})
        size = recipe.batch_size.parameters["size"]
        request = TrialRequest(
            0,
            replace(recipe, learning_rate=wsd),
            Budget(seconds=whole),
            milestones=tuple(milestones),
            test=len(milestones) > 1,
            evaluation=facts.evaluation_cost(),
            finalization=facts.finalization_cost(test=False),
            step=facts.train * facts.in_batch(size),
        )
        environment = TrialEnvironment(
            self._clock,
            self._clock.now(),
            lambda report: reports.append(report) or True,
            cpu=True,
            finishing=lambda: self._clock.now() >= end,
            found=self._found,
        )
        return run_trial(self._task, request, environment), reports


def _scores(report: Report) -> dict[str, float | None]:
    return {"metric": report.metric, "loss": report.loss}


@dataclass(frozen=True)
class Values:
    """What is known of the recipes of a task; scores, smaller is better, infinite where a training failed.

    Args:
        by_way: Validation scores by way, shape [recipes, rungs].
        top: Test scores of what each way delivers at the end of the top rung, shape [recipes].
        budgets: The rungs.
    """

    by_way: Mapping[str, np.ndarray]
    top: Mapping[str, np.ndarray]
    budgets: Sequence[float]


def cost(way: str, counts: Sequence[float], budgets: Sequence[float]) -> float:
    """Return what it costs to train so many recipes on each rung, the top one's cooldown included."""
    whole = float(np.dot(counts, budgets))
    if way == "restart":
        return whole
    steps = float(np.dot(counts, np.diff([0.0, *budgets])))
    return steps + COOLDOWN * (whole if way == "branch" else counts[-1] * budgets[-1])


def halving(values: np.ndarray, first: int, order: np.ndarray) -> int:
    """Return the recipe that halving by three picks from the first ones in an order."""
    alive = list(order[:first])
    for rung in range(values.shape[1]):
        alive = sorted(alive, key=lambda place: values[place, rung])[: max(1, round(len(alive) / 3))]
    return alive[0]


def affordable(way: str, first: int, values: Values) -> int:
    """Return how many recipes a way can start for what restarts of `first` recipes cost."""
    shape = [first / 3**rung for rung in range(len(values.budgets))]
    return round(first * cost("restart", shape, values.budgets) / cost(way, shape, values.budgets))


def rows(task: str, values: Values) -> list[str]:
    """Return the lines of the table for a task."""
    truth, lines = values.top["restart"], []
    for way in WAYS:
        found = values.by_way[way]
        ranks = [spearmanr(found[:, rung], truth).statistic for rung in range(found.shape[1])]
        cells = [f"{rank:.2f}" for rank in ranks]
        for first in TRIALS:
            count = affordable(way, first, values)
            chosen, delivered = regret(way, count, values)
            cells.append(f"{count}: {chosen[0]:.3f} ± {chosen[1]:.3f} / {delivered[0]:+.3f} ± {delivered[1]:.3f}")
        lines.append(f"| {task} | {way} | {' | '.join(cells)} |")
    return lines


def regret(way: str, count: int, values: Values) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the mean regret of the choice and of the delivered model with their spread over orders of the recipes.

    0 is the best recipe annealed to the top rung, 1 is plain. The choice is judged by its annealed training.
    """
    truth, source = values.top["restart"], np.random.default_rng(0)
    best, plain = truth.min(), truth[0]
    chosen, delivered = [], []
    for _ in range(DRAWS):
        pick = halving(values.by_way[way], count, source.permutation(len(truth)))
        chosen.append((truth[pick] - best) / (plain - best))
        delivered.append((values.top["restart" if way == "restart" else "branch"][pick] - best) / (plain - best))
    return summary(chosen), summary(delivered)


def summary(found: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation, each regret cut at 2."""
    cut = np.minimum(found, 2.0)
    return float(cut.mean()), float(cut.std())


def load(recorder: Recorder, trunk: Sequence[Mapping[str, Any]], by: str) -> Values:
    """Join the recorded annealed trainings with those of the trunk; `by` is `metric` or `loss`."""
    sign = -1.0 if by == "metric" and recorder.facts.maximize else 1.0

    def scores(given: Any) -> Any:
        if isinstance(given, list):
            return [scores(one) for one in given]
        found = given.get(by) if given else None
        return np.inf if found is None else sign * found

    keys = [row["recipe"] for row in trunk]
    recorded = {(row["recipe"], row["rung"]): row for row in read(recorder.path)[1:] if row["seed"] == 0}
    annealed = [[recorded[key, rung] for rung in range(len(recorder.task.budgets))] for key in keys]
    restart = [[row["curve"][-1] if row["outcome"] == "complete" else None for row in r] for r in annealed]
    by_way = {"restart": restart} | {way: [row[way] for row in trunk] for way in WAYS[1:]}
    top = {"restart": [row[-1]["test"] for row in annealed], "branch": [row["test"] for row in trunk]}
    arrays = [{way: np.array(scores(given)) for way, given in one.items()} for one in (by_way, top)]
    return Values(*arrays, recorder.task.budgets)


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=list(TASKS), required=True)
    parser.add_argument("--recipes", type=int, default=24)
    parser.add_argument("--by", choices=("metric", "loss"), default="metric")
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    parser.add_argument("--out", type=Path, default=RECORDED / "resume")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in given.task:
        recorder = Recorder(name, TASKS[name], given.recorded)
        path = given.out / f"{name}.jsonl"
        done = read(path)
        trunk = Trunk(recorder)
        for origin in fitting(recorder.space, recorder.facts, given.recipes):
            if origin.key != "plain_constant" and origin.key not in {row["recipe"] for row in done}:
                done.append(trunk.values(origin))
                with path.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
        lines += rows(name, load(recorder, done, given.by))
    trials = " | ".join(f"{first} restarts, or as many for the same: choice / delivered" for first in TRIALS)
    print(f"| task | way | rank correlation on rung 0 | 1 | 2 | 3 | {trials} |")
    print("| --- | --- | --- | --- | --- | --- | " + " | ".join("---" for _ in TRIALS) + " |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
