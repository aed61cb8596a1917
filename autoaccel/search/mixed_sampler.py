"""The default sampler: the portfolio first, then mutations of the best recipes, random draws and Optuna's TPE."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence

import optuna

from autoaccel.core.catalog import Domain
from autoaccel.core.recipe import Recipe
from autoaccel.core.schedules import Option
from autoaccel.search.base import Proposal
from autoaccel.search.optuna_sampler import OptunaSampler, fresh, portfolio_proposals
from autoaccel.spaces.choosers import RandomChooser, draw, is_switch
from autoaccel.spaces.space import SearchSpace

STARTUP = 8
"""Number of results before TPE is used."""
MUTATIONS = 0.5
"""Share of the proposals that are mutations, once there are recipes to mutate."""
RANDOM = 0.1
"""Share of the proposals that are random draws."""
CHANGED = 0.25
"""Probability that a mutation changes a parameter."""
SWITCHED = 0.5
"""Probability that a mutation switches a technique on or off, relative to the space's `on_share`."""
STEP = 0.15
"""Standard deviation of a change, as a fraction of the parameter's range."""


class MutationChooser:
    """Keeps most values of a recipe and changes the others slightly.

    Args:
        parent: The flat parameters of the recipe to mutate.
        source: The random number generator.
        switched: Probability that an optional technique is switched on or off.
    """

    def __init__(self, parent: Mapping[str, Option], source: random.Random, switched: float):
        self._parent = parent
        self._source = source
        self._switched = switched

    def choose(self, name: str, domain: Domain) -> Option:
        """Return the parent's value, or a changed one."""
        if is_switch(name):
            return bool(self._parent.get(name, False)) != (self._source.random() < self._switched)
        kept = self._parent.get(name)
        changed = self._source.random() < CHANGED
        if name not in self._parent or (changed and domain.options):
            return draw(domain, self._source)
        if domain.options or not isinstance(kept, int | float):
            return kept if domain.contains(kept) else draw(domain, self._source)
        return _moved(float(kept), domain, self._source) if changed else kept


class MixedSampler:
    """Mixes several sources of recipes. TPE learns from all results, including those of other sources' recipes.

    Args:
        space: The recipes that may be proposed.
        seed: The same seed and the same results give the same proposals.
    """

    def __init__(self, space: SearchSpace, seed: int):
        self._space = space
        self._source = random.Random(seed)
        self._model = OptunaSampler(space, tpe(seed), portfolio=False)
        self._queue = portfolio_proposals(space)
        self._told = 0
        self._seen: set[Recipe] = set()

    def propose(self, best: Sequence[Recipe], reference: bool = False) -> Proposal | None:
        """See `Sampler`."""

        def draw() -> Proposal:
            return self._queue.pop(0) if self._queue else self._draw(best, reference)

        return fresh(draw, self._model.forget, self._seen)

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """See `Sampler`."""
        self._told += 1
        self._model.tell(proposal, value)

    def _draw(self, best: Sequence[Recipe], reference: bool) -> Proposal:
        dice = self._source.random()
        if best and dice < MUTATIONS:
            # Better recipes are mutated more often.
            parent = best[min(int(self._source.expovariate(1.0)), len(best) - 1)]
            chooser = MutationChooser(parent.flat(), self._source, SWITCHED * self._space.on_share)
            return Proposal(self._space.draw(chooser, reference), "mutation of a good one")
        if self._told < STARTUP or dice > 1 - RANDOM:
            chosen = RandomChooser(self._source.getrandbits(32), self._space.on_share)
            return Proposal(self._space.draw(chosen, reference), "random")
        return self._model.ask(reference)


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's TPE sampler, set up to model the parameters of a conditional space jointly."""
    with warnings.catch_warnings():
        # `group` is experimental, but conditional parameters cannot be modeled jointly without it.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, n_startup_trials=1, constant_liar=True
        )


def _moved(value: float, domain: Domain, source: random.Random) -> Option:
    if domain.log:
        moved = value * float((domain.high / domain.low) ** source.gauss(0, STEP))
    else:
        moved = value + (domain.high - domain.low) * source.gauss(0, STEP)
    moved = min(domain.high, max(domain.low, moved))
    return round(moved) if domain.integer else moved
