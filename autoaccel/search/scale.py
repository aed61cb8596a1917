"""Scales on which a metric improves about evenly with the logarithm of a training's length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoaccel.core.facts import TaskFacts

TINY = 1e-12


@dataclass(frozen=True)
class Scale:
    """Turns scores, of which smaller is better, into levels, of which smaller is better too, and back.

    A level is the logarithm of a score's distance from the best possible one, such as an error rate or a loss.

    Args:
        best: The best possible score; None for scores of any sign, which are their own levels.
        rate: Whether the distance is a share of 1, as that of an accuracy is.
        resolution: Smallest distance that is told from none: of two perfect recipes, none is infinitely better.
    """

    best: float | None = None
    rate: bool = False
    resolution: float = 0.0

    @classmethod
    def of(cls, scores: Sequence[float], facts: TaskFacts) -> Scale:
        """Return the scale for a task's metric, of which some finite scores are known."""
        if facts.maximize:
            rates = all(-1 <= score <= 0 for score in scores)
            return cls(-1.0, True, 0.5 / max(1, facts.n_valid)) if rates else cls()
        return cls(0.0) if min(scores) > 0 else cls()

    def level(self, score: float) -> float:
        """Return the level of a score."""
        return score if self.best is None else math.log(self._distance(score))

    def score(self, level: float) -> float:
        """Return the score of a level, which is never better than the best possible one."""
        return level if self.best is None else self.best + max(0.0, math.exp(min(level, 700.0)) - self.resolution)

    def error(self, score: float, standard_error: float) -> float:
        """Return the standard error of a level from that of its score."""
        if self.best is None:
            return standard_error
        return max(standard_error, self.resolution) / self._distance(score)

    def continued(self, before: float, level: float, times: float) -> float:
        """Return the level after further steps such as that from `before` to `level`; never a worse one.

        Near chance, where most of the answers are still wrong, a rate improves slowly at first and then faster than
        its logarithm shows; the logarithm of its odds is steady there too.
        """
        start, end = (self._odds(each) for each in (before, level))
        after = end + times * min(0.0, end - start)
        return -math.log1p(math.exp(-after)) if self.rate else after

    def _distance(self, score: float) -> float:
        assert self.best is not None
        return max(score - self.best + self.resolution, TINY)

    def _odds(self, level: float) -> float:
        return level - math.log(max(-math.expm1(level), 1e-3)) if self.rate else level
