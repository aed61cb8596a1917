"""Asynchronous successive halving: which recipe is trained longer, without waiting for a rung to be full.

Li et al. 2020 (ASHA), with two differences: recipes are ranked by their predicted value at the final's length
instead of by what they reached on the rung, and a rung never holds more than a third of the one below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autoaccel.core.recipe import Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.search.plan import ETA
from autoaccel.search.trials import LadderTrials


def promotable(
    trials: LadderTrials, top: int, predicted: Mapping[Recipe, float], everything: bool = False
) -> Iterator[TrialRecord]:
    """Yield the trials whose recipes have earned a longer training, from the highest rung down.

    Args:
        trials: The trials so far.
        top: The highest rung.
        predicted: What each recipe is expected to reach; smaller is better.
        everything: Whether all recipes are trained longer, in their order, instead of a third of them.
    """
    for rung in reversed(range(top)):
        complete = sorted(trials.on(rung), key=lambda record: predicted[record.request.recipe])
        above = trials.recipes_on(rung + 1)
        earned = len(complete) if everything else len(complete) // ETA
        if len(above) < earned:
            yield from (record for record in complete[:earned] if record.request.recipe not in above)
