"""A model of a recipe's value against the length of its training, which is what all decisions rest on.

A Gaussian process over the recipe and the logarithm of the length: what a recipe reached in a short training says
less about a long one the further apart the two are, and a little less about a recipe nearby.
The idea of modelling fidelity as an input is Swersky et al. 2014 (freeze-thaw) and Klein et al. 2017.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoaccel.core.recipe import Recipe
from autoaccel.search.encoding import Encoder

MANY = 20
"""Coordinates beyond which all of them share a length scale: more could not be told apart, nor fitted in time."""
GROWTH = 1.25
"""Growth of the number of results after which the length scales are fitted again."""
SCALE = 0.7
"""Change of a coordinate after which a recipe is believed to be another one, before there are results."""
LENGTH_SCALE = 2.0
"""The same for the length: trainings of a third are believed to say nearly as much, those of a 27th less."""
FEWEST_REPEATED = 6
"""Recipes that have to be trained at two lengths before the fitted scale of the length is believed."""
FEWEST_TREND = 2
"""Recipes that have to be trained at two lengths before it is known how values change with the length."""
MOST_POINTS = 200
"""Most results that the model is fitted to: the better half, and a random choice of the others."""
SPAN = math.log(27.0)
"""Ratio of lengths that counts as one range of a number, so that the same prior serves both."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """What a trial has shown.

    Args:
        recipe: Its recipe.
        length: The length of its training, as a share of the run's budget.
        value: Smaller is better; infinite for a recipe that does not train.
    """

    recipe: Recipe
    length: float
    value: float


@dataclass(frozen=True)
class Prediction:
    """Predicted values of recipes, on the model's own scale, on which smaller is better.

    Args:
        mean: Expected values, one per recipe.
        deviation: Their standard deviations, without the noise of a training.
    """

    mean: Values
    deviation: Values


class ValueModel:
    """Predicts the value of any recipe after a training of any length.

    Args:
        encoder: Turns recipes into points.
        seed: Seed of the choice of the results that the model is fitted to.
    """

    def __init__(self, encoder: Encoder, seed: int):
        self._encoder = encoder
        self._source = np.random.default_rng(seed)
        self._process: Any = None
        self._kernel: Any = None
        self._fitted = 0
        self._points: dict[Recipe, Values] = {}
        self._slope = self._middle = self._last = 0.0
        self._repeated = 0
        self._spread = 1.0

    def fit(self, seen: Sequence[Observation], level: Callable[[float], float]) -> None:
        """Learn from results, anew from all of them.

        Args:
            seen: The results; at least one value must be finite.
            level: Turns a value into one that falls steadily with the logarithm of the length; see `Scale`.
        """
        lengths = np.array([_position(one.length) for one in seen])
        values = np.array([level(one.value) if math.isfinite(one.value) else math.inf for one in seen])
        pairs = _trained_twice(seen, lengths, values)
        self._repeated = len(pairs)
        self._last = _last_slope(pairs)
        # How a value changes with length where nothing else is known of a recipe.
        self._slope = float(np.median([(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs])) if pairs else 0.0
        flat = values - self._slope * lengths
        flat = np.minimum(flat, _worst(flat))  # how much worse a bad recipe is says nothing about good ones
        self._middle, self._spread = float(flat.mean()), float(flat.std()) + 1e-9
        points = np.column_stack([self.points([one.recipe for one in seen]), lengths])
        kept = self._kept(flat)
        self._regress(points[kept], (flat[kept] - self._middle) / self._spread)

    def predict(self, points: Values, length: float) -> Prediction:
        """Predict values after trainings of a length, for rows of `points`."""
        at = np.column_stack([points, np.full(len(points), _position(length))])
        mean, total = self._process.predict(at / self._ranges, return_std=True)
        deviation = np.sqrt(np.maximum(total**2 - self._kernel.k2.noise_level, 1e-9))
        trend = self._middle + self._slope * _position(length)
        # Rounded: the last bits depend on the number of threads, and the same run must decide the same way.
        mean, deviation = (np.round(part, 9) for part in (mean * self._spread + trend, deviation * self._spread))
        return Prediction(mean, np.maximum(deviation, 1e-9))

    def correlation(self, one: float, other: float) -> float:
        """Return how much a training of one length says about the same recipe at another, in [0, 1]."""
        if self._repeated < FEWEST_REPEATED:
            scale, variance, noise = LENGTH_SCALE, 1.0, 0.0
        else:
            scale = LENGTH_SCALE * float(np.atleast_1d(self._kernel.k1.k2.length_scale)[-1])
            variance, noise = self._kernel.k1.k1.constant_value, self._kernel.k2.noise_level
        distance = math.sqrt(5) * abs(_position(one) - _position(other)) / scale
        kernel = (1 + distance + distance**2 / 3) * math.exp(-distance)  # Matern 5/2
        return float(kernel * math.sqrt(variance / (variance + noise)))

    def lost(self, length: float, shorter: float) -> float:
        """Return how much worse a value is after a shorter training, as the longest ones so far suggest."""
        return max(0.0, self._last * (_position(shorter) - _position(length)))

    @property
    def trend_known(self) -> bool:
        """Whether a few recipes were trained at two lengths."""
        return self._repeated >= FEWEST_TREND

    @property
    def noise(self) -> float:
        """Standard deviation between two trainings alike, on the model's own scale."""
        return float(math.sqrt(self._kernel.k2.noise_level) * self._spread)

    def points(self, recipes: Sequence[Recipe]) -> Values:
        """Return the recipes' points, one per row."""
        for recipe in recipes:
            if recipe not in self._points:
                self._points[recipe] = self._encoder([recipe])[0]
        return np.array([self._points[recipe] for recipe in recipes]).reshape(len(recipes), -1)

    def _regress(self, points: Values, values: Values) -> None:
        # Imported here: it takes half a second, which only a search has to pay.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        inputs = points.shape[1]
        if self._kernel is None:
            # Distances grow with the number of coordinates; a scale that they share has to grow with them.
            many = inputs > MANY
            shared = math.sqrt(inputs / 4) if many else 1.0
            self._ranges = np.array([*[SCALE * shared] * (inputs - 1), LENGTH_SCALE])
            matern = Matern(1.0 if many else np.ones(inputs), (0.3, 8.0), nu=2.5)
            self._kernel = ConstantKernel(1.0, (0.2, 10.0)) * matern + WhiteKernel(0.01, (1e-4, 0.3))
        again = len(values) >= max(GROWTH * self._fitted, self._fitted + 4)
        optimizer = "fmin_l_bfgs_b" if again else None
        self._process = GaussianProcessRegressor(self._kernel, alpha=1e-6, optimizer=optimizer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound is an input of no effect
            self._process.fit(points / self._ranges, values)
        if again:
            self._kernel, self._fitted = self._process.kernel_, len(values)

    def _kept(self, level: Values) -> NDArray[np.int_]:
        if len(level) <= MOST_POINTS:
            return np.arange(len(level))
        order = np.argsort(level, kind="stable")
        best, rest = order[: MOST_POINTS // 2], order[MOST_POINTS // 2 :]
        return np.concatenate([best, self._source.choice(rest, MOST_POINTS - len(best), replace=False)])


def _position(length: float) -> float:
    return math.log(max(length, 1e-6)) / SPAN


def _trained_twice(
    seen: Sequence[Observation], lengths: Values, values: Values
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the (length, value) of the same recipe at two lengths next to each other, the shorter one first."""
    trained: dict[Recipe, list[tuple[float, float]]] = {}
    for one, length, value in zip(seen, lengths, values, strict=True):
        if math.isfinite(value):
            trained.setdefault(one.recipe, []).append((length, value))
    return [(a, b) for points in map(sorted, trained.values()) for a, b in pairwise(points) if b[0] > a[0]]


def _last_slope(pairs: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> float:
    """Return the median slope between the two greatest lengths that recipes were trained at; 0 if there is none."""
    longest = max((b[0] for _, b in pairs), default=0.0)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] == longest]
    return float(np.median(slopes)) if slopes else 0.0


def _worst(level: Values) -> float:
    """Return the level beyond which recipes are equally bad: as far above the median as the best is below it."""
    finite = level[np.isfinite(level)]
    best, middle = np.quantile(finite, [0.0, 0.5])
    return float(2 * middle - best)


def warm_up() -> None:
    """Import what the first decision needs, while others are waited for: it takes a second of the budget."""
    importlib.import_module("sklearn.gaussian_process")
