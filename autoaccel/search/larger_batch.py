"""The recipe of a final training with larger batches, where more devices have nothing to do for its own ones.

At equal steps, batches of 2, 4 and 8 times as many samples were better wherever that was measured, and on images
and text most so with learning rates that grow with the square root (docs/experiments.md). A recipe that says itself
how rates scale (`decoupled`) is taken at its word. Where the passes over the data are limited, and not the time,
larger batches would mean fewer steps.
"""

from __future__ import annotations

import math
from dataclasses import replace

from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import Recipe

MOST = 8
"""Most times as large: no more was measured."""
FEWEST = 16
"""Fewest steps of a pass over the data."""
RATES = ("lr", "adam_lr")
"""Learning rates of optimizers."""
RULE = "decoupled"
"""The technique that says how the learning rate scales with the batch size, and scales it."""


def with_larger_batches(recipe: Recipe, times: int, facts: TaskFacts) -> Recipe | None:
    """Return a recipe with batches so many times as large; None if they cannot be, or the data are too few.

    Args:
        recipe: The recipe.
        times: How many times as large.
        facts: The facts of the task.
    """
    size = recipe.batch_size.parameters.get("size")
    if "free_batches" not in facts.capabilities or isinstance(size, bool) or not isinstance(size, int):
        return None  # batches of the user's own, or of a size that changes in a way of its own
    rates = {name: lr for name, lr in recipe.optimizer.parameters.items() if name in RATES}
    numbers = all(isinstance(lr, int | float) for lr in rates.values())
    if not numbers or not 0 < size * times * FEWEST <= facts.n_train:
        return None
    factor = 1.0 if RULE in recipe.techniques else math.sqrt(times)
    scaled = {name: float(lr) * factor for name, lr in rates.items() if isinstance(lr, int | float)}
    optimizer = replace(recipe.optimizer, parameters={**recipe.optimizer.parameters, **scaled})
    batches = replace(recipe.batch_size, parameters={**recipe.batch_size.parameters, "size": size * times})
    return replace(recipe, optimizer=optimizer, batch_size=batches)


def larger_origin(origin: str, times: int) -> str:
    """Return the origin of a recipe with batches so many times as large, for display."""
    return f"{origin}, batches x {times}"
