"""`config.json`: a run's configuration, and the fingerprint that is checked when it is resumed."""

from __future__ import annotations

import hashlib
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
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Resources
from autoaccel.core.target import split_target
from autoaccel.search.base import Proposal
from autoaccel.search_spaces import read as read_space
from autoaccel.tuner.options import Options
from autoaccel.tuner.summary import SCHEMA


def config(
    target: str,
    budget: Budget,
    options: Options,
    resources: Resources,
    space: str,
    facts: TaskFacts,
    model_space: Mapping[str, Any],
    known: Sequence[Proposal] = (),
) -> dict[str, Any]:
    """Return the resolved configuration of a run as plain data.

    Args:
        target: Name of the task.
        budget: The budget of the run.
        options: The user's options.
        resources: The devices and settings of the workers.
        space: Name or file of the search space.
        facts: The facts of the task.
        model_space: The hyperparameters of the user's model.
        known: The recipes of earlier runs, which a resumed run needs even if they were forgotten meanwhile.
    """
    return {
        "schema": SCHEMA,
        "autoaccel": __version__,
        "target": target,
        "budget": dict(budget),
        "space": options.space,
        "model_space": dict(model_space),
        "metric": options.metric,
        "max_epochs": options.max_epochs,
        "goal": to_data(options.goal()),
        "seed": options.seed,
        "devices": options.devices,
        "workers": resources.workers,
        "warm_start": warm_start(options),
        "known": [{"origin": each.origin, "recipe": each.recipe.to_data()} for each in known],
        "fingerprint": _fingerprint(target, space, facts, options),
        "started": timestamp(),
        "environment": _environment(),
    }


def warm_start(options: Options) -> str | None:
    """Return the whole path of the run to start from, or None."""
    return None if options.warm_start is None else str(Path(options.warm_start).resolve())


def read_known(data: Mapping[str, Any]) -> list[Proposal]:
    """Return the recipes of earlier runs from a configuration; none in that of an older version."""
    return [Proposal(Recipe.from_data(each["recipe"]), each["origin"]) for each in data.get("known", ())]


def _fingerprint(target: str, name: str, facts: TaskFacts, options: Options) -> str:
    digest = hashlib.sha256()
    path = Path(split_target(target)[0])
    if path.is_file():
        digest.update(path.read_bytes())
    chosen = options.seed, options.metric, options.max_epochs, options.parts(), *filter(None, [options.goal()])
    digest.update(repr((read_space(name), facts.fingerprint, *chosen)).encode())
    digest.update(__version__.encode())
    return digest.hexdigest()[:16]


def _environment() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "accelerate", "optuna", "scikit-learn")}
    cores = str(os.cpu_count())
    return {"python": platform.python_version(), "platform": platform.platform(), "cores": cores, **packages}
