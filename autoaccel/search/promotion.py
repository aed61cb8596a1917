"""Which recipes are trained longer: a third of a rung by asynchronous halving, or all where there are no others.

Li et al. 2020 (ASHA), with two differences: recipes are ranked by their predicted value at the final's length
instead of by what they reached on the rung, and a rung never holds more than a third of the one below.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.search.plan import ETA
from autoaccel.search.requests import Next, longer
from autoaccel.search.trials import LadderTrials
from autoaccel.search.usage import Room


def promotion(room: Room, earned: Iterable[TrialRecord]) -> Next | None:
    """Return the next longer training that fits, of those that trials have earned for their recipes."""
    for record in earned:
        following = longer(room.ladder, record, room.ladder.rung(record) + 1)
        if room.fits(following.rung, following.parent):
            return following
    return None


def promotable(trials: LadderTrials, top: int, predicted: Mapping[Recipe, float]) -> Iterator[TrialRecord]:
    """Yield the trials whose recipes have earned a longer training, from the highest rung down.

    Args:
        trials: The trials so far.
        top: The highest rung.
        predicted: What each recipe is expected to reach; smaller is better.
    """
    for rung in reversed(range(top)):
        # What the model has not learned from yet waits.
        complete = sorted(trials.on(rung), key=lambda record: predicted.get(record.request.recipe, math.inf))
        above, earned = trials.recipes_on(rung + 1), len(complete) // ETA
        if len(above) < earned:
            yield from (record for record in complete[:earned] if record.request.recipe not in above)


def remaining(
    trials: LadderTrials, top: int, hopes: Mapping[Recipe, float], first: Recipe | None
) -> list[TrialRecord]:
    """Return the longest trials of all recipes that can be trained longer, the most hopeful one first.

    One that was pruned is among them: it was left for other recipes, of which there are none any more. One that is
    training longer, or has failed to, is not.

    Args:
        trials: The trials so far.
        top: The highest rung.
        hopes: What each recipe may turn out to reach; smaller is better.
        first: The recipe that would be trained in the end. Plain is left out if it is another: others are compared
            with it on the rungs below.
    """
    rivals = hopes.keys() - ({*PLAIN.values()} - {first})
    longest = {
        record.request.recipe: record
        for rung in range(top + 1)
        for record in (*trials.on(rung), *trials.pruned(rung))
        if record.request.recipe in rivals
    }
    above = [trials.recipes_on(rung + 1) for rung in range(top)]
    free = (r for r in longest.values() if (rung := trials.rung(r)) < top and r.request.recipe not in above[rung])
    return sorted(free, key=lambda record: hopes[record.request.recipe])
