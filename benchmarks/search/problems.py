"""What a benchmark of searches trains instead of models: learning curves by hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

from autoaccel.core.catalog import Domain
from autoaccel.spaces.choosers import draw

Values = Mapping[str, float]
WORST = 2.0
"""Regret of a model that diverged, and the largest that counts: one disaster must not outweigh a whole suite."""
SAMPLED = 1000
"""Random recipes whose median is a regret of 1."""
STARTS, STEPS = 5, 300
"""Climbs, and steps of each, that look for the loss which is a regret of 0."""


@dataclass(frozen=True)
class Problem:
    """A task of the benchmark. Lengths are shares of the longest useful training, which costs 1.

    Args:
        suite: The name of its suite.
        name: Its name within the suite.
        domains: Its hyperparameters.
        default: The values that a user would begin with.
        curve: From values and the length of a training to its loss along the way, a function of progress in
            (0, 1]; NaN for one that diverged.
        continues: Whether a training can be continued at the price of the difference. If not, it is
            annealed to its length, and a longer one starts anew.
        known: What else is known to be good, the best first: all searches begin with the default and these.
        judge: From values and the length of a training to the loss that it is judged by in the end; that which
            the search sees if None.
        table: What autoaccel's own search is given instead of the hyperparameters, see `recorded.Table`.
    """

    suite: str
    name: str
    domains: Mapping[str, Domain]
    default: Values
    curve: Callable[[Values, float], Callable[[float], float]]
    continues: bool
    known: Sequence[Values] = ()
    judge: Callable[[Values, float], float] | None = None
    table: Any = None
    _seen: dict[tuple[object, ...], Callable[[float], float]] = field(default_factory=dict, repr=False)

    def loss(self, values: Values, length: float, progress: float = 1.0) -> float:
        """Return the loss of a training of `length` at `progress`; NaN if it has diverged."""
        length = min(length, 1.0)
        key = (*(values[name] for name in self.domains), 1.0 if self.continues else length)
        if key not in self._seen:
            self._seen[key] = self.curve(values, key[-1])  # type: ignore[arg-type]
        return self._seen[key](length * progress if self.continues else progress)

    def sample(self, source: Random) -> Values:
        """Draw values at random."""
        return {name: draw(domain, source) for name, domain in self.domains.items()}  # type: ignore[misc]

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The best loss known and the median of random values, both at full length."""
        source = Random(0)
        losses = sorted(self._final(self.sample(source)) for _ in range(SAMPLED))
        return self._climbed(source), losses[len(losses) // 2]

    def _climbed(self, source: Random) -> float:
        """Return the best loss that random steps from random starts find, far beyond what any budget buys."""
        found = []
        for _ in range(STARTS):
            values = min((self.sample(source) for _ in range(SAMPLED // STARTS)), key=self._final)
            for step in range(STEPS):
                tried = {
                    name: _moved(given, self.domains[name], source, 0.3 * 0.99**step)
                    for name, given in values.items()
                }
                values = min(values, tried, key=self._final)
            found.append(self._final(values))
        return min(found)

    def _judged(self, values: Values, length: float) -> float:
        return self.judge(values, length) if self.judge else self.loss(values, length)

    def _final(self, values: Values) -> float:
        loss = self._judged(values, 1.0)
        return loss if math.isfinite(loss) else math.inf

    def regret(self, values: Values, length: float) -> float:
        """Return the regret of a model: 0 is the best known, 1 the median of random values, both at full length."""
        loss, (best, median) = self._judged(values, length), self.scale
        return min(WORST, (loss - best) / (median - best)) if math.isfinite(loss) else WORST


def _moved(given: float, domain: Domain, source: Random, size: float) -> float:
    if source.random() < 0.5:
        return given
    if domain.options:
        return draw(domain, source)  # type: ignore[return-value]
    low, high, at = (math.log(x) if domain.log else x for x in (domain.low, domain.high, given))
    moved = min(high, max(low, at + (high - low) * source.gauss(0, size)))
    back = math.exp(moved) if domain.log else moved
    return min(int(domain.high), max(int(domain.low), round(back))) if domain.integer else back
