"""Use any Optuna sampler as a source of recipes, through Optuna's public API only."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from autoaccel.core.catalog import Domain
from autoaccel.core.recipe import Recipe
from autoaccel.core.schedules import Option
from autoaccel.errors import UsageError
from autoaccel.search.base import Findings, Proposal
from autoaccel.spaces.choosers import is_switch
from autoaccel.spaces.distributions import choices, distribution, from_optuna, to_optuna
from autoaccel.spaces.space import SearchSpace

ATTEMPTS = 50
"""Repeated recipes in a row before the space counts as exhausted."""
INFEASIBLE = ("infeasible", 1.0)
"""The constraint that a recipe violates if it does not fit, diverges or fails; a positive value is a violation."""


class OptunaChooser:
    """Lets an Optuna trial pick the values."""

    def __init__(self, trial: optuna.Trial):
        self._trial = trial

    def choose(self, name: str, domain: Domain) -> Option:
        """Return the trial's suggestion."""
        if domain.options:
            chosen: Any = self._trial.suggest_categorical(name, choices(domain))
            return from_optuna(domain, chosen)
        if domain.integer:
            return self._trial.suggest_int(name, int(domain.low), int(domain.high), log=domain.log)
        return self._trial.suggest_float(name, domain.low, domain.high, log=domain.log)


class OptunaSampler:
    """Proposes recipes from an Optuna sampler, by default after the space's portfolio.

    Args:
        space: The recipes that may be proposed.
        sampler: Any sampler from Optuna or a package that extends it.
        portfolio: Whether the portfolio is proposed first, by `Study.enqueue_trial`.
    """

    def __init__(self, space: SearchSpace, sampler: optuna.samplers.BaseSampler, portfolio: bool = True):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._domains = space.domains()
        self._study = optuna.create_study(sampler=sampler)
        self._seen: set[Recipe] = set()
        self._asked: dict[int, optuna.Trial] = {}
        self._stopped = False
        self._queue = portfolio_proposals(space) if portfolio else []
        for proposal in self._queue:
            self._study.enqueue_trial(self._parameters(self._values(proposal.recipe)))

    def propose(self, findings: Findings) -> Proposal | None:
        """See `Sampler`."""
        attempts = 0 if self._stopped else ATTEMPTS + len(self._queue)
        return fresh(lambda: self._next(findings.reference), self.forget, self._seen, attempts)

    def _next(self, reference: bool) -> Proposal:
        known = self._queue.pop(0) if self._queue else None
        proposal = self.ask(reference)
        # Keep a portfolio recipe's values outside the space; the sampler only needs those inside.
        return Proposal(known.recipe, known.origin, proposal.number) if known else proposal

    def ask(self, reference: bool) -> Proposal:
        """Return the sampler's next recipe, which may have been proposed before.

        Raises:
            UsageError: If the sampler cannot draw from this space.
        """
        trial = self._study.ask()
        self._asked[trial.number] = trial
        try:
            return Proposal(self._space.draw(OptunaChooser(trial), reference), "model", trial.number)
        except ValueError as error:
            name = type(self._study.sampler).__name__
            raise UsageError(f"{name} cannot draw from the search space {self._space.name}: {error}") from error

    def forget(self, proposal: Proposal) -> None:
        """Record that a proposal will not be tried."""
        if proposal.number is not None:
            self._tell(proposal.number, None, TrialState.FAIL)

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """See `Sampler`."""
        # Samplers learn nothing from a failed trial, but from a pruned one that violates a constraint they do.
        state = TrialState.COMPLETE if value is not None else TrialState.PRUNED
        if proposal.number is None:
            self._observe(proposal.recipe, value, state)
            return
        if value is None:
            self._asked[proposal.number].set_constraint(*INFEASIBLE)
        self._tell(proposal.number, value, state)

    def _tell(self, number: int, value: float | None, state: TrialState) -> None:
        del self._asked[number]
        try:
            self._study.tell(number, value, state=state)
        except RuntimeError as error:
            # A sampler that enumerates all combinations has none left. The trial has been told by then.
            if "Study.stop" not in str(error):
                raise
            self._stopped = True

    def _observe(self, recipe: Recipe, value: float | None, state: TrialState) -> None:
        """Add the result of a recipe from another source to the study if the recipe is inside the space."""
        values = self._values(recipe)
        if all(self._domains[name].contains(given) for name, given in values.items()):
            distributions = {name: distribution(self._domains[name]) for name in values}
            params = self._parameters(values)
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=state,
                    value=value,
                    params=params,
                    distributions=distributions,
                    constraints=dict([INFEASIBLE]) if value is None else None,
                )
            )

    def _parameters(self, values: Mapping[str, Option]) -> dict[str, Any]:
        """Return those values that are inside the space, as Optuna knows them."""
        domains = self._domains
        return {name: to_optuna(domains[name], v) for name, v in values.items() if domains[name].contains(v)}

    def _values(self, recipe: Recipe) -> dict[str, Option]:
        """Return the recipe's values of searched parameters; absent techniques are off."""
        flat: Mapping[str, Option] = recipe.flat()
        return {name: flat.get(name, False) for name in self._domains if name in flat or is_switch(name)}


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's TPE sampler, set up to model the parameters of a conditional space jointly."""
    with warnings.catch_warnings():
        # `group` is experimental, but conditional parameters cannot be modeled jointly without it.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, n_startup_trials=1, constant_liar=True
        )


def fresh(
    draw: Callable[[], Proposal],
    forget: Callable[[Proposal], None],
    seen: set[Recipe],
    attempts: int = ATTEMPTS,
) -> Proposal | None:
    """Draw until a recipe comes that was not seen before, and remember it; None after so many attempts.

    Args:
        draw: Makes a proposal.
        forget: Called with a proposal whose recipe was seen before.
        seen: The recipes proposed so far; the new one is added.
        attempts: Number of draws.
    """
    for _ in range(attempts):
        proposal = draw()
        if proposal.recipe not in seen:
            seen.add(proposal.recipe)
            return proposal
        forget(proposal)
    return None


def portfolio_proposals(space: SearchSpace) -> list[Proposal]:
    """Return the portfolio's recipes fitted to the space, except those that learn from a finished model."""
    fitted = {name: space.fit(recipe) for name, recipe in space.portfolio.items()}
    return [
        Proposal(recipe, f"portfolio {name}")
        for name, recipe in fitted.items()
        if recipe is not None and not space.learns(recipe)
    ]
