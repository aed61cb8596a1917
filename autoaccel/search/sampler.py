"""Where recipes come from: the portfolio's first, then mutations of the best and Optuna's TPE."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from autoaccel.core.catalog import Domain
from autoaccel.core.recipe import Recipe
from autoaccel.spaces.domains import Scalar
from autoaccel.spaces.space import RandomChooser, SearchSpace, draw, is_switch

STARTUP = 8
"""Results that TPE needs before it is asked."""
ATTEMPTS = 50
"""Draws that may repeat a recipe before the space counts as exhausted."""
CHANGED = 0.25
"""Share of a mutation's parameters that differ from its parent's."""
SWITCHED = 0.5
"""Chance that a mutation turns a technique on or off, as a share of the chance that a random recipe has it on."""
STEP = 0.15
"""Standard deviation of a change, as a share of the parameter's range."""


@dataclass(frozen=True)
class Proposal:
    """A recipe to try, and where it comes from.

    Args:
        recipe: The recipe.
        origin: For people.
        number: Number of the Optuna trial that proposed it, or None.
    """

    recipe: Recipe
    origin: str
    number: int | None = None


class OptunaChooser:
    """Lets an Optuna trial pick the values."""

    def __init__(self, trial: optuna.Trial):
        self._trial = trial

    def choose(self, name: str, domain: Domain) -> Scalar:
        """The trial's suggestion."""
        value: Scalar = self._trial._suggest(name, distribution(domain))
        return value


class MutationChooser:
    """Keeps most of a recipe's values and moves the others a little.

    Args:
        parent: The recipe's values.
        source: Of random numbers.
        switched: Chance that an optional technique is turned on or off.
    """

    def __init__(self, parent: Mapping[str, Scalar], source: random.Random, switched: float):
        self._parent = parent
        self._source = source
        self._switched = switched

    def choose(self, name: str, domain: Domain) -> Scalar:
        """The parent's value, or one near it."""
        if is_switch(name):
            return bool(self._parent.get(name, False)) != (self._source.random() < self._switched)
        kept = self._parent.get(name)
        changed = self._source.random() < CHANGED
        if kept is None or (changed and domain.options):
            return draw(domain, self._source)
        if domain.options or not isinstance(kept, int | float):
            return kept if kept in domain.options else draw(domain, self._source)
        return _moved(float(kept), domain, self._source) if changed else kept


class RecipeSampler:
    """Proposes recipes and learns from results that are comparable across budgets.

    Args:
        space: Where recipes come from.
        seed: The same seed and the same results give the same proposals.
    """

    def __init__(self, space: SearchSpace, seed: int):
        self._space = space
        self._source = random.Random(seed)
        self._domains = space.domains()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            # `group` is marked experimental; conditional parameters cannot be modelled jointly without it.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            tpe = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, n_startup_trials=1, constant_liar=True
            )
        self._study = optuna.create_study(sampler=tpe)
        fitted = {name: space.fit(recipe) for name, recipe in space.portfolio.items()}
        self._queue = [
            Proposal(recipe, f"portfolio {name}")
            for name, recipe in fitted.items()
            if recipe is not None and not space.learns(recipe)
        ]
        self._told = 0
        self._seen: set[Recipe] = set()

    def propose(self, best: Sequence[Recipe], reference: bool = False) -> Proposal | None:
        """The next recipe that was not proposed before, or None when the space seems to hold no other.

        Args:
            best: The best recipes so far, best first.
            reference: Whether there is a finished model that a recipe may learn from.
        """
        for _ in range(ATTEMPTS):
            proposal = self._queue.pop(0) if self._queue else self._draw(best, reference)
            if proposal.recipe not in self._seen:
                self._seen.add(proposal.recipe)
                return proposal
            if proposal.number is not None:
                self._study.tell(proposal.number, state=TrialState.FAIL)
        return None

    def _draw(self, best: Sequence[Recipe], reference: bool) -> Proposal:
        dice = self._source.random()
        if best and dice < 0.5:
            # The better a recipe, the more mutations it gets.
            parent = best[min(int(self._source.expovariate(1.0)), len(best) - 1)]
            chooser = MutationChooser(parent.flat(), self._source, SWITCHED * self._space.on_share)
            return Proposal(self._space.draw(chooser, reference), "mutation of a good one")
        if self._told < STARTUP or dice > 0.9:
            chosen = RandomChooser(self._source.getrandbits(32), self._space.on_share)
            return Proposal(self._space.draw(chosen, reference), "random")
        trial = self._study.ask()
        return Proposal(self._space.draw(OptunaChooser(trial), reference), "model", trial.number)

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """Learn a result.

        Args:
            proposal: What was tried.
            value: Smaller is better, comparable across budgets; None for a recipe that is infeasible.
        """
        self._told += 1
        if proposal.number is not None:
            state = TrialState.COMPLETE if value is not None else TrialState.FAIL
            self._study.tell(proposal.number, value, state=state)
            return
        if value is None:
            return
        flat = proposal.recipe.flat()
        known = {name: flat.get(name, False) for name in self._present(flat)}
        distributions = {name: distribution(self._domains[name]) for name in known}
        inside = all(d._contains(d.to_internal_repr(known[n])) for n, d in distributions.items())
        if inside:
            made = optuna.trial.create_trial(params=known, distributions=distributions, value=value)
            self._study.add_trial(made)

    def _present(self, flat: Mapping[str, Scalar]) -> list[str]:
        """Searched parameters that this recipe has; an absent technique is one that is off."""
        return [name for name, domain in self._domains.items() if name in flat or is_switch(name)]


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's form of a domain."""
    if domain.options:
        return CategoricalDistribution(domain.options)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _moved(value: float, domain: Domain, source: random.Random) -> Scalar:
    if domain.log:
        moved = value * float((domain.high / domain.low) ** source.gauss(0, STEP))
    else:
        moved = value + (domain.high - domain.low) * source.gauss(0, STEP)
    moved = min(domain.high, max(domain.low, moved))
    return round(moved) if domain.integer else moved
