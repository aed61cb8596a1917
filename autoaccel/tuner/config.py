"""`config.json`: a run's configuration, which is compared with that of the command that resumes it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autoaccel import __version__
from autoaccel.core.budget import Budget
from autoaccel.core.clock import timestamp
from autoaccel.core.codec import to_data
from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import Machine
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Slots
from autoaccel.search.base import Proposal
from autoaccel.tuner.identity import identity
from autoaccel.tuner.options import Options
from autoaccel.tuner.summary import SCHEMA


def config(
    target: str,
    budget: Budget,
    options: Options,
    machine: Machine,
    slots: Slots,
    space: str,
    facts: TaskFacts,
    model_space: Mapping[str, Any],
    known: Sequence[Proposal] = (),
    begun: Budget | None = None,
) -> dict[str, Any]:
    """Return the resolved configuration of a run as plain data.

    Args:
        target: Name of the task.
        budget: The budget of the run.
        options: The user's options.
        machine: What there is to train on.
        slots: What each trial gets of it.
        space: Name or file of the search space.
        facts: The facts of the task.
        model_space: The hyperparameters of the user's model.
        known: The recipes of earlier runs, which a resumed run needs even if they were forgotten meanwhile.
        begun: The budget that the run was begun with, if it was extended since.
    """
    return {
        "schema": SCHEMA,
        "autoaccel": __version__,
        "target": target,
        "budget": dict(budget),
        "begun": dict(begun or budget),
        "space": options.space,
        "model_space": dict(model_space),
        "metric": options.metric,
        "max_epochs": options.max_epochs,
        "goal": to_data(options.goal()),
        "options": _written(options),
        "seed": options.seed,
        "devices": options.devices,
        "workers": slots.count,
        "machine": to_data(machine),
        "slots": to_data(slots),
        "warm_start": warm_start(options),
        "known": [{"origin": each.origin, "recipe": each.recipe.to_data()} for each in known],
        "identity": identity(space, budget, options, slots, facts.fingerprint, facts.files),
        "started": timestamp(),
        "environment": _environment(),
    }


def training_config(
    target: str,
    budget: Budget,
    seed: int,
    devices: str,
    recipe: Recipe,
    reference: Path | None,
    names: Sequence[str],
    identity: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the configuration of a training of one recipe as plain data.

    Args:
        target: Name of the task.
        budget: The budget.
        seed: Seed of the split and the training.
        devices: The user's choice of devices.
        recipe: The recipe.
        reference: The run whose model it learns from, or None.
        names: The class names that string labels stand for.
        identity: What makes it the training that it is.
    """
    learns_from = None if reference is None else str(reference.resolve())
    return {
        "schema": SCHEMA,
        "autoaccel": __version__,
        "target": target,
        "budget": dict(budget),
        "training": {
            "recipe": recipe.to_data(),
            "reference": learns_from,
            "names": list(names),
            "seed": seed,
            "devices": devices,
        },
        "identity": dict(identity),
        "started": timestamp(),
        "environment": _environment(),
    }


def _written(options: Options) -> dict[str, Any]:
    """Return what the user wrote, as far as it is text, for a command that goes on with the run."""
    conditions = [options.subject_to] if isinstance(options.subject_to, str) else list(options.subject_to)
    parts = {name: getattr(options, name) for name in ("search", "sampler", "executor")}
    texts = {name: part for name, part in parts.items() if isinstance(part, str)}
    return {"target": options.target, "subject_to": conditions, "objective": options.objective, **texts}


def read_options(data: Mapping[str, Any], out: Path) -> Options:
    """Return the options with which a run in a folder is resumed, from its configuration."""
    names = ("space", "metric", "seed", "devices", "workers", "warm_start", "max_epochs")
    given = {name: data[name] for name in names if name in data}
    return Options(**given, **data.get("options", {}), out=out, resume=True)


def warm_start(options: Options) -> str | None:
    """Return the whole path of the run to start from, or None."""
    return None if options.warm_start is None else str(Path(options.warm_start).resolve())


def read_known(data: Mapping[str, Any]) -> list[Proposal]:
    """Return the recipes of earlier runs from a configuration; none in that of an older version."""
    return [Proposal(Recipe.from_data(each["recipe"]), each["origin"]) for each in data.get("known", ())]


def _environment() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "accelerate", "optuna", "scikit-learn")}
    cores = str(os.cpu_count())
    return {"python": platform.python_version(), "platform": platform.platform(), "cores": cores, **packages}
