"""Imagined tasks that are like recorded ones: plain's trend with length, what recipes add to it, and noise.

The rows of `forecast_prior.json` are estimated from recorded trainings by `python -m benchmarks.search.priors`.
Steps are changes of a level when a training gets three times as long; places are counted in such steps, from the
length of the final training (0) down (-1, ...).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

from autoaccel.core.codec import from_data
from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.search.plan import ETA
from autoaccel.tuner.forecast import Imagine

FILE = "forecast_prior.json"
SAME_KIND = 3.0
"""Weight of a recorded task of the same kind: kinds are few and recorded tasks too, so the others count as well."""
LONGEST, SHORTEST = 3, -12
"""Places between which an imagined task knows its curves."""


@dataclass(frozen=True)
class Effects:
    """What recipes of one origin add to plain's level: negative is better.

    Args:
        mean: Their mean, at the final's length and at a third of it.
        spread: Their standard deviation, likewise, without noise.
    """

    mean: tuple[float, float]
    spread: tuple[float, float]


@dataclass(frozen=True)
class Recorded:
    """What was recorded of a task, seen from a final training of one length.

    Args:
        task: Its name.
        kind: image, tokens or table.
        level: The level of plain after that training.
        steps: How plain's level changed in the steps before, the last one first.
        constant: What the other plain recipe adds.
        known: What known-good recipes add.
        new: What other recipes add.
        noise: Standard deviation between two trainings alike.
        n_valid: Validation samples, on which the noise depends.
    """

    task: str
    kind: str
    level: float
    steps: tuple[float, ...]
    constant: tuple[float, float]
    known: Effects
    new: Effects
    noise: float
    n_valid: int


@dataclass(frozen=True)
class Prior:
    """What recorded tasks say about other ones.

    Args:
        tasks: The recorded tasks, each from one length or from several.
        kept: Correlation of what a recipe adds at lengths one step apart.
        damping: Share of a step that the next one is expected to be.
        doubt: Standard deviation of that share.
    """

    tasks: tuple[Recorded, ...]
    kept: float
    damping: float
    doubt: float


@cache
def read_prior() -> Prior:
    """Return what is shipped with the package."""
    import json

    data = json.loads((files("autoaccel.tuner") / FILE).read_text())
    return from_data(Prior, {name: data[name] for name in Prior.__dataclass_fields__})


def imagined(prior: Prior, facts: TaskFacts, final: float) -> list[tuple[float, Imagine]]:
    """Return tasks like the recorded ones, with their weights for a task of some kind.

    Args:
        prior: What was recorded.
        facts: The facts of the task.
        final: The length of the final training, as a share of the budget that was asked for.
    """

    def like(recorded: Recorded) -> Imagine:
        return lambda seed: LikeRecorded(recorded, prior, facts, final, seed)

    last = {each.task: each for each in prior.tasks}
    same = [each for each in prior.tasks if each.kind == facts.kind]
    # Seen from all lengths if it is of the same kind, else from the longest only: each takes its time to simulate.
    others = [each for each in last.values() if each.kind != facts.kind]
    times = len(same) / max(1, len({each.task for each in same}))
    return [*((SAME_KIND / times, like(each)) for each in same), *((1.0, like(each)) for each in others)]


class LikeRecorded:
    """An imagined task like a recorded one; see `Imagined`."""

    def __init__(self, recorded: Recorded, prior: Prior, facts: TaskFacts, final: float, seed: int):
        self.noise = recorded.noise * math.sqrt(recorded.n_valid / max(1, facts.n_valid))
        self._recorded, self._prior = recorded, prior
        self._source = Random(seed)
        self._final = math.log(final, ETA)
        self._trend = self._curve()
        self._drawn: dict[Recipe, tuple[Effects, Sequence[float]]] = {}

    def level(self, recipe: Recipe, origin: str, length: float) -> float:
        """See `Imagined`."""
        place = math.log(max(length, 1e-9), ETA) - self._final
        found = _at(self._trend, place)
        if recipe == PLAIN["plain_constant"]:
            found += _at([*reversed(self._recorded.constant)], place, -1)
        elif recipe != PLAIN["plain"]:
            effects, luck = self._luck(recipe, origin)
            mean, spread = (_at([*reversed(each)], place, -1) for each in (effects.mean, effects.spread))
            found += mean + spread * _at(luck, place)
        return found

    def _curve(self) -> list[float]:
        """Return plain's levels from the shortest to the longest place; what was not recorded goes on, damped."""
        recorded, down = self._recorded, [self._recorded.level]
        for back in range(-SHORTEST):
            down.append(down[-1] - recorded.steps[min(back, len(recorded.steps) - 1)])
        up, step = [recorded.level], recorded.steps[0]
        for _ in range(LONGEST):
            step *= self._source.gauss(self._prior.damping, self._prior.doubt)
            up.append(up[-1] + step)
        return [*reversed(down), *up[1:]]

    def _luck(self, recipe: Recipe, origin: str) -> tuple[Effects, Sequence[float]]:
        if recipe not in self._drawn:
            kept, source = self._prior.kept, self._source
            luck = [source.gauss(0, 1)]
            for _ in range(LONGEST - SHORTEST):
                luck.append(kept * luck[-1] + math.sqrt(1 - kept**2) * source.gauss(0, 1))
            known = origin.startswith(("portfolio", "memory", "warm start"))
            self._drawn[recipe] = (self._recorded.known if known else self._recorded.new, luck)
        return self._drawn[recipe]


def _at(values: Sequence[float], place: float, first: int = SHORTEST) -> float:
    """Return a value between places by linear interpolation; the outer values hold beyond them."""
    at = min(max(place - first, 0.0), len(values) - 1.0)
    below = min(int(at), len(values) - 2)
    return values[below] + (at - below) * (values[below + 1] - values[below])
