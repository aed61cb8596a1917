"""What is trained after the final model: recipe and plain with other seeds, and the recipe without each part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import COMPONENTS, PLAIN, Recipe
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import OutcomeKind
from autoaccel.search.ways import Way

SEEDS = 5
"""Most seeds with which recipe and plain are compared, the first included."""
AS_LONG = 0.9
"""A trial of this share of a length counts as one of that length."""


@dataclass(frozen=True)
class Run:
    """A training for evidence.

    Args:
        recipe: Its recipe.
        seed: Its seed.
        origin: What it is for, for display.
    """

    recipe: Recipe
    seed: int
    origin: str

    @classmethod
    def of(cls, record: TrialRecord) -> Run:
        """Return what a trial trains."""
        return cls(record.request.recipe, record.request.seed, record.request.origin)


def without_each(recipe: Recipe) -> Mapping[str, Recipe]:
    """Return the recipe without each of its parts, by the name of that part; components become plain ones.

    What an optimizer decays stays as it is: other parts may need the groups of parameters that follow from it.
    """
    plain, found = PLAIN["plain"], {}
    decays = {"decay_all": recipe.optimizer.parameters.get("decay_all", False)}
    optimizer = replace(plain.optimizer, parameters={**plain.optimizer.parameters, **decays})
    plain = plain if recipe.optimizer == plain.optimizer else replace(plain, optimizer=optimizer)
    for component in COMPONENTS:
        choice = getattr(recipe, component)
        if choice != getattr(plain, component):
            found[choice.name] = replace(recipe, **{component: getattr(plain, component)})
    for name in recipe.techniques:
        kept = {other: given for other, given in recipe.techniques.items() if other != name}
        found[name] = replace(recipe, techniques=kept)
    if recipe.model:
        found["the model's hyperparameters"] = replace(recipe, model={})
    return found


def length_of(record: TrialRecord) -> Budget:
    """Return how long a trial trains: its budget, or what it used of that if it was complete early."""
    budget, outcome = record.request.budget, record.outcome
    ended_early = record.complete and outcome is not None and outcome.reason
    return budget * min(1.0, budget.share(outcome.cost)) if outcome and ended_early else budget


def as_long(record: TrialRecord, length: Budget) -> bool:
    """Return whether a trial was or is trained for about a length."""
    return AS_LONG <= length.share(Cost(length_of(record))) <= 1 / AS_LONG


def missing(trials: Trials, model: TrialRecord, plain: Recipe) -> Run | None:
    """Return the next training that would add to the evidence for a trained model; None if there is enough.

    Args:
        trials: All trials of the run.
        model: The trial of the model.
        plain: The plain recipe to compare it with.
    """
    length = length_of(model)
    way = Way.of(model.request)
    like = [record for record in trials if Way.of(record.request) == way and record.state != OutcomeKind.PRUNED]
    had = {(record.request.recipe, record.request.seed) for record in like if as_long(record, length)}
    wanted = _wanted(model.request.recipe, plain, model.request.seed)
    return next((run for run in wanted if (run.recipe, run.seed) not in had), None)


def _wanted(recipe: Recipe, plain: Recipe, seed: int) -> Iterator[Run]:
    yield Run(plain, seed, "plain")
    if recipe == plain:
        return
    yield from _pair(recipe, plain, seed + 1)
    for name, rest in without_each(recipe).items():
        yield Run(rest, seed, f"without {name}")
    for other in range(2, SEEDS):
        yield from _pair(recipe, plain, seed + other)


def _pair(recipe: Recipe, plain: Recipe, seed: int) -> Iterator[Run]:
    yield Run(recipe, seed, "the recipe again")
    yield Run(plain, seed, "plain again")
