"""Recipes as points that a model can learn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from autoaccel.core.catalog import Domain
from autoaccel.core.recipe import Recipe
from autoaccel.core.schedules import Option
from autoaccel.spaces.choosers import is_switch
from autoaccel.spaces.space import SearchSpace

ABSENT = 0.5
"""Coordinate of a number that a recipe does not have: the middle, as near to all values as possible."""
APART = 0.7
"""Coordinate of a chosen option; two options are then sqrt(2) * 0.7, about one range of a number, apart."""

Points = NDArray[np.float64]


class Encoder:
    """Turns recipes into points of the unit cube, one coordinate for each number and for each unordered option.

    Args:
        space: The space of the recipes. Values outside of it are clipped.
    """

    def __init__(self, space: SearchSpace):
        self._columns = [column for name, domain in space.domains().items() for column in _columns(name, domain)]
        self._space = space

    @property
    def dimensions(self) -> int:
        """Number of coordinates."""
        return len(self._columns)

    def __call__(self, recipes: Sequence[Recipe]) -> Points:
        """Return one row per recipe, shape [recipes, dimensions]."""
        return np.array([self._row(recipe) for recipe in recipes]).reshape(len(recipes), self.dimensions)

    def _row(self, recipe: Recipe) -> list[float]:
        flat = self._space.flat(recipe)
        return [encode(flat.get(name)) for name, encode in self._columns]


Column = tuple[str, Callable[[Option], float]]


def _columns(name: str, domain: Domain) -> list[Column]:
    if is_switch(name):
        return [(name, lambda given: APART if given else 0.0)]
    if not domain.options:
        return [(name, _scaled(domain))]
    if len(domain.options) < 2:
        return []
    if all(isinstance(option, int | float) and not isinstance(option, bool) for option in domain.options):
        order = sorted(domain.options)
        return [(name, lambda given: order.index(given) / (len(order) - 1) if given in order else ABSENT)]
    return [(name, _is(option)) for option in domain.options]


def _is(option: Option) -> Callable[[Option], float]:
    return lambda given: APART if given == option else 0.0


def _scaled(domain: Domain) -> Callable[[Option], float]:
    low, high = (math.log(end) if domain.log else end for end in (domain.low, domain.high))

    def scaled(given: Option) -> float:
        if isinstance(given, bool) or not isinstance(given, int | float):
            return ABSENT
        clipped = min(max(given, domain.low), domain.high)
        return ((math.log(clipped) if domain.log else clipped) - low) / (high - low)

    return scaled
