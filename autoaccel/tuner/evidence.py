"""What the trainings after the final one show: the gain over several seeds, and what each part brings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from autoaccel.core.facts import combined_error
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.search.evidence import as_long, length_of, without_each
from autoaccel.search.expectation import SURE
from autoaccel.search.ways import Way

COVERED = 0.95
"""Probability of the interval of a gain."""


def seeds_data(trials: Trials, model: TrialRecord | None, plain: Recipe | None) -> dict[str, Any] | None:
    """Return recipe and plain trained equally long with the same seeds, as plain data; None without two seeds.

    The interval is Student's t over the seeds, widened by the validation set's noise, which all of them share.

    Args:
        trials: All trials of the run.
        model: The trial of the delivered model.
        plain: The plain recipe.
    """
    if model is None or plain is None or trials.facts is None or model.final is None:
        return None
    ours, theirs = (_by_seed(_alike(trials, model), recipe) for recipe in (model.request.recipe, plain))
    shared = [seed for seed in ours if seed in theirs]
    if len(shared) < 2 or model.request.recipe == plain:
        return None
    gains = [_gain(trials, theirs[seed], ours[seed]) for seed in shared]
    half = _half_width(gains, trials.facts.error(model.final, theirs[shared[0]].final or model.final))
    return {
        "length": str(length_of(model)),
        "seeds": shared,
        "recipe": [_score(ours[seed]) for seed in shared],
        "plain": [_score(theirs[seed]) for seed in shared],
        "gain": mean(gains),
        "low": mean(gains) - half,
        "high": mean(gains) + half,
    }


def parts_data(trials: Trials, model: TrialRecord | None) -> list[dict[str, Any]]:
    """Return what the model's metric loses without each part of its recipe, as far as that was trained.

    One training each: differences below `noise`, the spread over seeds where it is known, say nothing.
    """
    if model is None or model.final is None or trials.facts is None or model.request.recipe in PLAIN.values():
        return []
    alike = _alike(trials, model)
    again = [_gain(trials, record, model) for record in alike if record.request.recipe == model.request.recipe]
    noise = combined_error(stdev(again), trials.facts.error(model.final)) if len(again) > 1 else None
    found = []
    for name, recipe in without_each(model.request.recipe).items():
        record = _by_seed(alike, recipe).get(model.request.seed)
        if record is not None:
            loss = _gain(trials, record, model)
            found.append({"without": name, "trial": record.number, **_score(record), "loss": loss, "noise": noise})
    return sorted(found, key=lambda each: -each["loss"])


def _alike(trials: Trials, model: TrialRecord) -> list[TrialRecord]:
    """Return the complete trainings as long as the model's, on as much, itself included, and scored as it was."""
    length, way = length_of(model), Way.of(model.request)
    scored = (each for each in trials if each.final is not None and not each.request.valid_samples)
    return [each for each in scored if as_long(each, length) and Way.of(each.request) == way]


def _by_seed(records: Iterable[TrialRecord], recipe: Recipe) -> dict[int, TrialRecord]:
    return {record.request.seed: record for record in records if record.request.recipe == recipe}


def _gain(trials: Trials, one: TrialRecord, other: TrialRecord) -> float:
    """Return by how much the metric of `other` is better than that of `one`."""
    assert trials.facts and one.final and other.final
    return trials.facts.score(one.final)[0] - trials.facts.score(other.final)[0]


def _half_width(gains: Sequence[float], error: float | None) -> float:
    from scipy.stats import t  # not at import: half a second, which only a run with evidence has to pay

    over_seeds = t.ppf((1 + COVERED) / 2, len(gains) - 1) * stdev(gains) / math.sqrt(len(gains))
    return math.hypot(over_seeds, SURE * (error or 0.0))


def _score(record: TrialRecord) -> dict[str, Any]:
    assert record.final is not None and record.outcome is not None
    return {"metric": record.final.metric, "test": record.outcome.test.get("metric")}
