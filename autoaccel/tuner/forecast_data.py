"""What the recorded tasks of the package say about a run, as plain data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from autoaccel.core.facts import TaskFacts
from autoaccel.tuner.forecast import COVERED, Forecast, forecast
from autoaccel.tuner.forecast_prior import imagined, read_prior
from autoaccel.tuner.forecast_scenario import Scenario


def from_recorded(scenario: Scenario) -> Forecast:
    """Forecast from the recorded tasks of the package: what is removed of plain's error, the best being 0."""
    errors = replace(scenario, facts=replace(scenario.facts, maximize=False))
    return forecast(errors, imagined(read_prior(), scenario.facts, scenario.final))


def forecast_data(told: Forecast, facts: TaskFacts) -> dict[str, Any]:
    """Return a forecast as plain data.

    `budgets` has a row for each budget: `factor` is the budget as a multiple of the one that was asked for,
    `trials` are mean numbers by length, `final` is the length of the training that is delivered. `outcome` and
    `plain`, which is trained with the whole of the row's budget, have `expected`, `low` and `high`: multiples of
    the error of plain with the budget that was asked for. An error is the distance of the metric from its best.
    Where nothing can be said they are None, and `silent` gives the reason.
    """
    once = next(each for each in told.prospects if each.factor == 1)
    silent = "" if facts.common_metric else f"nothing is known of a metric like {facts.metric}"

    def interval(levels: np.ndarray) -> dict[str, float] | None:
        if silent:
            return None
        found = told.interval(levels - once.plain)
        return {name: math.exp(getattr(found, name)) for name in ("expected", "low", "high")}

    rows = [
        {
            "factor": each.factor,
            "budget": str(each.budget),
            "trials": {length: round(count, 1) for length, count in each.trials.items()},
            "final": str(each.final),
            "simulated": round(each.simulated, 3),
            "outcome": interval(each.levels),
            "plain": interval(each.plain),
        }
        for each in told.prospects
    ]
    tasks = {each.task for each in read_prior().tasks}
    return {
        "metric": {"name": facts.metric, "direction": "max" if facts.maximize else "min"},
        "source": f"searches simulated on tasks like {len(tasks)} recorded ones",
        "silent": silent,
        "covered": COVERED,
        "runs": len(told.weights),
        "budgets": rows,
    }
