"""What the search believes that each recipe is worth at the length of the final training, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import Recipe
from autoaccel.search.encoding import Encoder
from autoaccel.search.improvement import log_improvement
from autoaccel.search.scale import Scale
from autoaccel.search.value_model import Observation, ValueModel
from autoaccel.spaces.space import SearchSpace

TRUST = 1.0
"""Standard deviations by which a recipe must be expected to be better than the default to take its place: of many
recipes, some look better than they are."""
TRUST_KNOWN = 0.7
"""The same for the few that are known to be good elsewhere, and for plain."""
OPTIMISM = 2.5
"""How many times sqrt(2 log n) deviations ahead the best of n recipes may be: the model's deviations are small."""
DELAY = 0.01
"""Results that the model may wait for before it learns from them, as a share of those that it knows."""


@dataclass(frozen=True)
class Belief:
    """What is believed of one recipe at one length, as levels of a scale.

    Args:
        scale: Turns levels into scores.
        mean: Expected level.
        deviation: Its standard deviation, of what the model does not know.
        noise: Standard deviation between two trainings alike.
    """

    scale: Scale
    mean: float
    deviation: float
    noise: float


class Valuation:
    """The beliefs of a search, kept up to date with its results.

    Args:
        space: The space of the recipes.
        facts: The facts of the task.
        seed: Seed of the model.
        length: The length of the final training, as a share of the run's budget.
        defaults: What would be trained without a search.
        known: Recipes that are good elsewhere.

    Attributes:
        mean: What each recipe is expected to reach, as a level of the scale; smaller is better.
        deviation: Standard deviations of that.
        trusted: The recipes, best first, where others than `defaults` have to be clearly expected to be better.
    """

    def __init__(
        self,
        space: SearchSpace,
        facts: TaskFacts,
        seed: int,
        length: float = 1.0,
        defaults: Collection[Recipe] = (),
        known: Collection[Recipe] = (),
    ):
        self._facts = facts
        self._encoder = Encoder(space)
        self._model = ValueModel(self._encoder, seed)
        self._scale: Scale
        self._seen = 0
        self._length = length
        self._doubts = {**dict.fromkeys(known, TRUST_KNOWN), **dict.fromkeys(defaults, 0.0)}
        self.mean: Mapping[Recipe, float] = {}
        self.deviation: Mapping[Recipe, float] = {}
        self.trusted: Sequence[Recipe] = ()

    def update(self, seen: Sequence[Observation], length: float, at_once: bool = False) -> None:
        """Learn what is new, and predict all recipes seen at a length.

        Args:
            seen: All results so far.
            length: The length, as a share of the run's budget.
            at_once: Whether to learn from a single new result too, where it would wait for others.
        """
        waiting, least = len(seen) - self._seen, 1 if at_once else max(1.0, DELAY * self._seen)
        if (waiting < least and length == self._length) or not any(math.isfinite(one.value) for one in seen):
            return
        if not self._seen:
            self._scale = Scale.of([one.value for one in seen if math.isfinite(one.value)], self._facts)
        self._seen, self._length = len(seen), length
        self._model.fit(seen, self._scale.level)
        recipes = list(dict.fromkeys(one.recipe for one in seen))
        predicted = self._model.predict(self._model.points(recipes), length)
        self.mean = dict(zip(recipes, predicted.mean.tolist(), strict=True))
        self.deviation = dict(zip(recipes, predicted.deviation.tolist(), strict=True))
        doubt = {recipe: self._doubts.get(recipe, TRUST) * sd for recipe, sd in self.deviation.items()}
        self.trusted = sorted(self.mean, key=lambda recipe: self.mean[recipe] + doubt[recipe])

    def promise(self, recipes: Sequence[Recipe]) -> Sequence[float]:
        """Return the logarithm of each recipe's expected improvement over the best one seen; see `Promise`."""
        predicted = self._model.predict(self._encoder(recipes), self._length)
        return log_improvement(predicted, min(self.mean.values()))

    @property
    def grounded(self) -> bool:
        """Whether enough recipes were trained at two lengths to say how values change with it."""
        return self._seen > 0 and self._model.trend_known

    def gained(self, promised: float) -> float:
        """Return an expected improvement over the best recipe in the metric's units; see `Promise`."""
        best = min(self.mean.values())
        return self._scale.score(best) - self._scale.score(best - math.exp(promised))

    def lost(self, length: float, shorter: float) -> float:
        """Return how much worse the best recipe will be after a shorter training, in the metric's units."""
        best = min(self.mean.values())
        return self._scale.score(best + self._model.lost(length, shorter)) - self._scale.score(best)

    def start(self, lengths: Sequence[float], room: float) -> int:
        """Return the index of the length with which new recipes should start, of those that fit into what is left.

        The best of n independent recipes is about sqrt(2 log n) deviations ahead, of which a trial shows the share
        that its correlation with the final training allows. Short trials allow more recipes, long ones show more.
        """
        ahead = [
            self._model.correlation(length, self._length) * math.sqrt(2 * math.log(max(room / length, 1.0)))
            for length in lengths
        ]
        return max(range(len(lengths)), key=ahead.__getitem__)

    def belief(self, recipe: Recipe, length: float) -> Belief | None:
        """Return what is believed of a recipe at another length; None before there are results. Learns nothing."""
        if not self._seen:
            return None
        found, model = self._model.predict(self._encoder([recipe]), length), self._model
        return Belief(self._scale, float(found.mean[0]), float(found.deviation[0]), model.noise)

    def leaders(self, count: int) -> list[Recipe]:
        """Return the recipes that are expected to be best, best first."""
        return sorted(self.mean, key=self.mean.__getitem__)[:count]

    def hopes(self, room: float) -> Mapping[Recipe, float]:
        """Return what each recipe may turn out to reach: the less sure the better, as long as there is room to see.

        Args:
            room: Number of trainings as long as the final one that can be paid besides it; with one or less, what
                is expected counts.
        """
        doubt = OPTIMISM * math.sqrt(2 * math.log(max(room, 1.0)))
        return {recipe: mean - doubt * self.deviation[recipe] for recipe, mean in self.mean.items()}
