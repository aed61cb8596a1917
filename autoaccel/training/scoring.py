"""Score saved weights after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from autoaccel.core.clock import Clock
from autoaccel.core.recipe import Recipe
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task
from autoaccel.training.data.understanding import Understanding
from autoaccel.training.device import pick_device
from autoaccel.training.evaluate import score
from autoaccel.training.meters.meters import Meters


def score_weights(
    task: Task,
    recipe: Recipe,
    path: Path,
    clock: Clock,
    seed: int,
    cpu: bool,
    found: Understanding | None = None,
) -> Mapping[str, Any]:
    """Score saved weights on the test set.

    Args:
        task: The user's task; it must have a test set.
        recipe: The recipe that the weights were trained with.
        path: The file with the weights.
        clock: Measures the seconds.
        seed: Seed of the validation split, as in training.
        cpu: Whether to use the CPU even if there is a GPU.
        found: What the run's profile has understood of the task, or None.

    Returns:
        `metric`, `loss`, `standard_error`, and the `seconds` and `flops` spent.
    """
    started, device = clock.now(), pick_device(cpu)
    set_seed(seed)
    model = build_model(task, recipe.model)
    load_weights(model, path)
    model.to(device)
    data = prepare(task, model, seed, found)
    data = replace(
        data, objective=replace(data.objective, scaling=None)
    )  # saved weights answer in the user's units
    assert data.test is not None
    context = TrainingContext(model, data, (), Meters(model, clock, started), seed, device)
    scored = asdict(score(context, data.test))
    return {**scored, "cost": dict(context.meter.spent())}
