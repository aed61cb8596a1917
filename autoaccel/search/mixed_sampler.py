"""The default sampler: the portfolio first, then random draws and what the search's model finds most promising."""

from __future__ import annotations

import random
from collections.abc import Mapping

from autoaccel.core.catalog import Domain
from autoaccel.core.recipe import Recipe
from autoaccel.core.schedules import Option
from autoaccel.search.base import Findings, Proposal
from autoaccel.search.optuna_sampler import fresh, portfolio_proposals
from autoaccel.spaces.choosers import RandomChooser, draw, is_switch
from autoaccel.spaces.space import SearchSpace

STARTUP = 6
"""Number of results before the model is asked."""
RANDOM = 1 / 3
"""Share of the proposals that are random draws, in case the model is wrong."""
DRAWN = 80
"""Random recipes among the candidates that the model chooses from."""
MUTATED = 12
"""Mutations of each good recipe among the candidates."""
CHANGED = 0.4
"""Probability that a mutation changes a parameter."""
SWITCHED = 0.5
"""Probability that a mutation switches a technique on or off, relative to the space's `on_share`."""
STEPS = (0.03, 0.1, 0.25)
"""Standard deviations of a change, as fractions of the parameter's range; a mutation has one of them."""


class MutationChooser:
    """Keeps most values of a recipe and changes the others slightly.

    Args:
        parent: The flat parameters of the recipe to mutate.
        source: The random number generator.
        switched: Probability that an optional technique is switched on or off.
        step: Standard deviation of a change, as a fraction of the parameter's range.
        changed: Probability that a parameter is changed.
    """

    def __init__(
        self,
        parent: Mapping[str, Option],
        source: random.Random,
        switched: float,
        step: float,
        changed: float = CHANGED,
    ):
        self._parent = parent
        self._source = source
        self._switched = switched
        self._step = step
        self._changed = changed

    def choose(self, name: str, domain: Domain) -> Option:
        """Return the parent's value, or a changed one."""
        if is_switch(name):
            return bool(self._parent.get(name, False)) != (self._source.random() < self._switched)
        kept = self._parent.get(name)
        changed = self._source.random() < self._changed
        if name not in self._parent or (changed and domain.options):
            return draw(domain, self._source)
        if domain.options or not isinstance(kept, int | float):
            return kept if domain.contains(kept) else draw(domain, self._source)
        return _moved(float(kept), domain, self._source, self._step) if changed else kept


class MixedSampler:
    """Mixes several sources of recipes.

    Args:
        space: The recipes that may be proposed.
        seed: The same seed and the same results give the same proposals.
    """

    def __init__(self, space: SearchSpace, seed: int):
        self._space = space
        self._source = random.Random(seed)
        self._queue = portfolio_proposals(space)
        self._told = 0
        self._seen: set[Recipe] = set()

    def propose(self, findings: Findings) -> Proposal | None:
        """See `Sampler`."""

        def draw() -> Proposal:
            # The portfolio's recipes are for the model as it is: while that breaks a limit, another is looked for.
            return self._queue.pop(0) if self._queue and not findings.spoiled else self._draw(findings)

        return fresh(draw, lambda _: None, self._seen)

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """See `Sampler`."""
        self._told += 1

    def _draw(self, findings: Findings) -> Proposal:
        reference, promise = findings.reference, findings.promise
        if promise is None or self._told < STARTUP or self._source.random() < RANDOM:
            return Proposal(self._random(reference), "random")
        candidates = [self._random(reference) for _ in range(DRAWN)]
        candidates += [self._mutation(parent, reference) for parent in findings.best for _ in range(MUTATED)]
        new = [candidate for candidate in candidates if candidate not in self._seen]
        if not new:
            return Proposal(candidates[0], "model")
        promised = promise(new)
        best = max(range(len(new)), key=promised.__getitem__)
        return Proposal(new[best], "model", promised=promised[best])

    def _random(self, reference: bool) -> Recipe:
        chosen = RandomChooser(self._source.getrandbits(32), self._space.on_share)
        return self._space.draw(chosen, reference)

    def _mutation(self, parent: Recipe, reference: bool) -> Recipe:
        switched, step = SWITCHED * self._space.on_share, self._source.choice(STEPS)
        return self._space.draw(MutationChooser(self._space.flat(parent), self._source, switched, step), reference)


def _moved(value: float, domain: Domain, source: random.Random, step: float) -> Option:
    if domain.log:
        moved = value * float((domain.high / domain.low) ** source.gauss(0, step))
    else:
        moved = value + (domain.high - domain.low) * source.gauss(0, step)
    moved = min(domain.high, max(domain.low, moved))
    return round(moved) if domain.integer else moved
