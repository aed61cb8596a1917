"""The search of autoaccel with a part of it taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from autoaccel.search import mixed_sampler, scheduler, valuation
from autoaccel.search.valuation import Valuation
from autoaccel.search.value_model import Observation
from benchmarks.search.ours import tune
from benchmarks.search.problems import Problem, Values
from benchmarks.search.trainings import Search


class RungValues(Valuation):
    """Believes what each recipe reached in its longest training, and that a longer training says more."""

    def update(self, seen: Sequence[Observation], length: float, at_once: bool = False) -> None:
        """See `Valuation`."""
        ends = {one.recipe: one for one in sorted(seen, key=lambda one: one.length)}
        self.mean = {recipe: one.value for recipe, one in ends.items()}
        self.deviation = dict.fromkeys(ends, 0.0)
        self.trusted = sorted(self.mean, key=lambda recipe: (-ends[recipe].length, self.mean[recipe]))


@contextmanager
def _changed(module: object, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _with(module: object, name: str, value: object, run: Search = tune) -> Search:
    def changed(problem: Problem, budget: float, seed: int) -> tuple[Values, float, float]:
        with _changed(module, name, value):
            return run(problem, budget, seed)

    return changed


no_model = _with(scheduler, "Valuation", RungValues, partial(tune, sampler="random"))
no_trust = _with(valuation, "TRUST", 0.0)
no_random = _with(mixed_sampler, "RANDOM", 0.0)
tpe = partial(tune, sampler="tpe")
