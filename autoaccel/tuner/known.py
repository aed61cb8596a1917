"""Recipes of earlier runs: those that a new run tries early, and those that a finished one leaves behind."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from autoaccel import __version__
from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import Purpose
from autoaccel.errors import UsageError
from autoaccel.search.base import Proposal, Search
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.delivery import RESULT, current
from autoaccel.storage.json_files import read_object
from autoaccel.storage.memory import KnownRecipe, Sketch
from autoaccel.storage.records import read_trials
from autoaccel.tuner.summary import leaderboard

FEW = 3
"""Recipes that a run takes from the memory, or from the run that it starts from, and recipes that it leaves."""
OWN = "own"
"""What stands for a metric of the user's own, whose name is nobody else's business."""


def sketch(facts: TaskFacts, budget: Budget) -> Sketch:
    """Return what a task and a budget are, roughly; from a budget without seconds nothing measured enters."""
    share = budget.share(facts.train)
    return Sketch(
        kind=facts.kind,
        classes=facts.classes > 0,
        metric=facts.metric if facts.common_metric else OWN,
        maximize=facts.maximize,
        samples=_decades(facts.n_train),
        parameters=_decades(facts.parameters),
        budget=_decades(1 / share if share else 0.0),
    )


def _decades(amount: float) -> float:
    return round(math.log10(max(1.0, amount)), 1)


def ranked(memory: Iterable[KnownRecipe], task: Sketch) -> list[KnownRecipe]:
    """Return what is known of a kind of task, the most promising first.

    The same metric comes first, then the nearest sizes in whole decades, then the best result, then the newest.

    Args:
        memory: The memory, oldest first.
        task: The task and the budget to find recipes for.
    """

    def key(known: KnownRecipe) -> tuple[bool, int, float]:
        other = known.task
        alike = (other.metric, other.maximize) == (task.metric, task.maximize)
        pairs = ((getattr(other, size), getattr(task, size)) for size in ("samples", "parameters", "budget"))
        return not alike, round(sum(abs(a - b) for a, b in pairs)), 1.0 if known.share is None else known.share

    same_kind = [known for known in memory if (known.task.kind, known.task.classes) == (task.kind, task.classes)]
    same_kind.reverse()  # of equals, the newest comes first
    return sorted(same_kind, key=key)


def proposals(
    recipes: Iterable[Recipe], space: SearchSpace, origin: str, taken: Container[Recipe] = (), alike: bool = True
) -> list[Proposal]:
    """Return the first few recipes that fit a space, as proposals; none that learns from a finished model.

    Args:
        recipes: The recipes, the most promising first.
        space: The search space of the task.
        origin: Where they come from; they are numbered.
        taken: Recipes not to propose.
        alike: Whether two may differ in numbers only.
    """
    found: dict[object, Recipe] = {}
    for recipe in recipes:
        fitted = space.fit(_with_model_of(space, recipe))
        if fitted is None or space.learns(fitted) or fitted in taken or fitted in PLAIN.values():
            continue
        found.setdefault(fitted if alike else frozenset(fitted.chosen()), fitted)
    return [Proposal(recipe, f"{origin} {i}") for i, recipe in enumerate(list(found.values())[:FEW], 1)]


def _with_model_of(space: SearchSpace, recipe: Recipe) -> Recipe:
    """Return the recipe with those hyperparameters of its model that the space searches too."""
    return replace(recipe, model={name: given for name, given in recipe.model.items() if name in space.model})


def warm_recipes(run: Path) -> list[Recipe]:
    """Return the recipes of a finished run: the delivered one, then the others, largest budget and best first.

    Raises:
        UsageError: If the folder holds no finished run.
    """
    result = read_object(current(run, RESULT))
    if not run.is_dir():
        raise UsageError(f"--warm-start {run}: no such folder; it takes the folder of a finished run")
    if not result and not (run / "config.json").exists():
        raise UsageError(f"--warm-start {run}: holds no run; it takes the folder of a finished run")
    if "recipe" not in result and result.get("status", "running") == "running":
        raise UsageError(f"--warm-start {run}: this run has not found anything yet")
    try:
        delivered, trials = Recipe.from_data(result["recipe"]), read_trials(run)
        maximize = result["metric"].get("direction") == "max"
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise UsageError(f"--warm-start {run}: cannot be read, perhaps of another version: {error}") from None
    found = [delivered, *_best_first(trials, maximize)]
    # Rates for larger batches than those of a search are too high for its own.
    left_out = {*PLAIN.values(), *(one.request.recipe for one in trials if one.request.larger > 1)}
    return [recipe for recipe in dict.fromkeys(found) if recipe not in left_out]


def _best_first(trials: Trials, maximize: bool) -> Iterator[Recipe]:
    for row in leaderboard(trials, maximize):
        yield trials[row["trial"]].request.recipe


def learned(search: Search, budget: Budget, shared: Container[str], date: str) -> list[KnownRecipe]:
    """Return what a run has found out: its few best recipes, if they beat plain by more than the standard error.

    Args:
        search: The search of a finished run.
        budget: The budget of the run.
        shared: The techniques that other runs know too; a recipe with one of the user's own is not remembered.
        date: The day.
    """
    compared, facts = search.comparison(), search.trials.facts
    if compared is None or facts is None:
        return []
    level = [record for record in search.trials.of(Purpose.SEARCH) if record.request.budget == compared.budget]
    better = [record for record in level if _beats(record, compared.plain, facts)]
    found: dict[object, KnownRecipe] = {}
    for record in sorted(better, key=lambda record: _score(record, facts)):
        recipe = replace(record.request.recipe, model={})
        if all(name in shared for name in recipe.chosen()):
            share = _share(record, compared.plain, facts.maximize)
            known = KnownRecipe(recipe, sketch(facts, budget), share, __version__, date)
            found.setdefault(frozenset(recipe.chosen()), known)
    return list(found.values())[:FEW]


def _beats(record: TrialRecord, plain: TrialRecord, facts: TaskFacts) -> bool:
    if not record.complete or record.final is None or plain.final is None:
        return False
    return facts.clearly_better(record.final, plain.final, 1.0)


def _score(record: TrialRecord, facts: TaskFacts) -> float:
    assert record.final is not None
    return facts.score(record.final)[0]


def _share(record: TrialRecord, plain: TrialRecord, maximize: bool) -> float | None:
    """Return an error divided by plain's: of a metric that is at best 0, or at most 1."""
    assert record.final is not None and plain.final is not None
    ours, theirs = record.final.metric, plain.final.metric
    if maximize and max(ours, theirs) > 0:
        ours, theirs = 1 - ours, 1 - theirs
    elif maximize:
        ours, theirs = -ours, -theirs
    return round(ours / theirs, 3) if ours >= 0 and theirs > 0 else None
