"""What makes a run the one that it is, so that a resumed one goes on with the same, and what else would change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autoaccel import __version__
from autoaccel.core.budget import Budget
from autoaccel.core.codec import to_data
from autoaccel.core.machine import models
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Slots
from autoaccel.errors import UsageError
from autoaccel.search_spaces import read as read_space
from autoaccel.tuner.options import Options

UNKNOWN = "not known"


def identity(
    space: str,
    budget: Budget,
    options: Options,
    slots: Slots,
    data: str,
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Return what makes a run the one that it is, as plain data.

    Args:
        space: Name or file of the search space.
        budget: The budget of the run.
        options: The user's options.
        slots: How many trials run side by side, and on what.
        data: A digest of the data.
        files: Digests of the task's own files, by path.
    """
    digest = hashlib.sha256(repr(read_space(space)).encode()).hexdigest()[:16]
    return {
        "version": __version__,
        "budget": str(budget),
        "files": dict(files),
        "data": data,
        "space": f"{space} ({digest})",
        "metric": options.metric,
        "seed": options.seed,
        "longest training": options.max_epochs,
        "goal": to_data(options.goal()) if options.goal() else None,
        "search and sampler": options.parts(),
        "devices": models(slots.gpus) or options.devices,
        "workers": slots.count,
    }


def training_identity(
    recipe: Recipe,
    budget: Budget,
    seed: int,
    devices: str,
    reference: Path | None,
    data: str,
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Return what makes a training of one recipe the one that it is, as plain data; see `identity`."""
    return {
        "version": __version__,
        "budget": str(budget),
        "files": dict(files),
        "data": data,
        "recipe": hashlib.sha256(recipe.to_yaml().encode()).hexdigest()[:16],
        "seed": seed,
        "devices": devices,
        "reference": None if reference is None else str(reference.resolve()),
    }


def check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a run is resumed with what it was begun with.

    Args:
        folder: The run folder.
        before: The run's `identity`; empty for one of an older version.
        now: That of the command that resumes it.

    Raises:
        UsageError: If not; with what is another, one line each.
    """
    if lines := _differences(before, now):
        first = f"{folder} cannot be resumed, since this is not what it was begun with:"
        last = "--fork begins anew in another folder and tries its best recipes early"
        if "recipe" in now:
            last = "without --resume, and with another --out, it is trained anew"
        raise UsageError("\n".join([first, *(f"  {line}" for line in lines), last]))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if not before:
        return [f"version: an older one then, {now['version']} now"]
    return [*_of_files(before.get("files", {}), now["files"]), *_of_values(before, now)]


def _of_files(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for path in {**before, **now}:
        if before.get(path) != now.get(path):
            yield f"{path}: {'new' if path not in before else 'gone' if path not in now else 'changed'}"


def _of_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name, value in now.items():
        old = before.get(name, UNKNOWN)
        if name == "files" or old == value:
            continue
        if name == "data":
            yield "data: changed"
        else:
            yield f"{name}: {_shown(old)} then, {_shown(value)} now"


def _shown(value: Any) -> str:
    return "none" if value in (None, "") else str(value)
