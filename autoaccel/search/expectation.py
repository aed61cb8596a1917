"""What plain training would reach with everything that a run has spent: what its result has to be compared with.

Learning curves level off, and nobody knows when. So the interval reaches from plain's own trend continued, as far
as the model of the search is unsure of it, to no improvement at all over the longest plain trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import Trials
from autoaccel.search.base import Expectation
from autoaccel.search.valuation import Belief

SURE = 1.96
"""Standard deviations on either side, for an interval of 95 %."""
AS_LONG = 0.9
"""A plain trial of at least this share of a length shows what plain reaches there."""
APART = 2.0
"""Ratio of the lengths of two trials that show a trend."""

Beliefs = Callable[[Recipe, float], Belief | None]
"""From a recipe and the length of a trial to what is believed of it."""


@dataclass(frozen=True)
class Shown:
    """What a plain trial has shown.

    Args:
        length: The length of its training, as a share of the run's budget.
        score: Smaller is better.
        error: Standard error of the score; 0 if unknown.
    """

    length: float
    score: float
    error: float


def expected_plain(
    trials: Trials, budget: Budget, beliefs: Beliefs, share: float, speed: float = 1.0
) -> Expectation | None:
    """Return what plain training reaches at a length; None if no plain recipe was trained at two shorter lengths.

    Args:
        trials: All trials of the run.
        budget: The budget of the run.
        beliefs: What the search believes of a recipe.
        share: The length, as a share of the run's budget.
        speed: How many times as fast it would be trained as trials of the search are.
    """
    facts, length = trials.facts, share * speed
    if facts is None:
        return None
    # A trial in folds trains as many models, each with its share.
    models = max(1, facts.folds)
    found = []
    for recipe in PLAIN.values():
        own = _shown(trials, recipe, facts, budget)
        belief = beliefs(recipe, length * models)
        if own and belief and (reached := _reached(own, belief, length)):
            found.append((own[-1].length >= AS_LONG * length, belief.scale, *reached))
    if not found:
        return None
    # What was measured comes before what is believed, then the better of the two.
    measured, scale, *levels = min(found, key=lambda each: (not each[0], each[2]))
    sign = -1 if facts.maximize else 1
    metric, *ends = (sign * scale.score(level) for level in levels)
    return Expectation(budget * share, metric, min(ends), max(ends), measured)


def _reached(own: list[Shown], belief: Belief, length: float) -> tuple[float, float, float] | None:
    """Return the level that is expected at a length, its best and its worst; None without a trend."""
    scale, last = belief.scale, own[-1]
    level = scale.level(last.score)
    noise = math.hypot(belief.noise, scale.error(last.score, last.error))
    if last.length >= AS_LONG * length:
        return level, level - SURE * noise, level + SURE * noise
    first = own[0]
    if last.length < APART * first.length:
        return None
    times = math.log(length / last.length) / math.log(last.length / first.length)
    trend = scale.continued(scale.level(first.score), level, times)
    # The model knows how other recipes level off, but also takes plain for as good a recipe as they are.
    expected = min(max(belief.mean, trend), level)
    return expected, trend - SURE * math.hypot(belief.deviation, noise), level + SURE * noise


def _shown(trials: Trials, recipe: Recipe, facts: TaskFacts, budget: Budget) -> list[Shown]:
    """Return what the complete trials of a recipe have shown, the shortest first."""
    found = []
    for record in trials:
        if record.final is not None and record.request.recipe == recipe:
            trained = budget.share(Cost(record.request.budget)) * record.request.speed
            length = trained / max(1, record.request.folds)
            found.append(Shown(length, facts.score(record.final)[0], record.final.standard_error or 0.0))
    return sorted(found, key=lambda one: one.length)
