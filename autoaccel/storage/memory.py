"""The memory: recipes that beat plain training in earlier runs, in one small file in the user's data folder.

One JSON line a recipe. It says nothing of the user's own: no paths, no names of files, classes or labels, and no
hyperparameters of the user's model.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_data_path

from autoaccel.core.codec import from_data, to_data
from autoaccel.core.recipe import Recipe
from autoaccel.errors import AutoaccelError, StoreError, UsageError
from autoaccel.storage.files import write_atomically
from autoaccel.storage.json_files import json_text

VARIABLE = "AUTOACCEL_MEMORY"
"""The environment variable that names another file; `off` for no memory at all."""
SCHEMA = 1
MOST = 200
"""Lines that are kept, the newest ones."""
PATIENCE = 1.0
"""Seconds to wait for another run that writes, which takes a few milliseconds: the budget is about to end."""


@dataclass(frozen=True)
class Sketch:
    """A task and a budget, roughly: enough to tell whether a recipe may be of use elsewhere.

    Args:
        kind: image, tokens, table or series.
        classes: Whether it is classification.
        metric: The metric's name; `own` for a function of the user's.
        maximize: Whether a larger metric is better.
        samples: log10 of the training samples; 0 if unknown.
        parameters: log10 of the model's trainable parameters.
        budget: log10 of the samples that the whole budget would pay plain training for.
    """

    kind: str
    classes: bool
    metric: str
    maximize: bool
    samples: float
    parameters: float
    budget: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.samples, self.parameters, self.budget))):
            raise ValueError("sizes must be finite")


@dataclass(frozen=True)
class KnownRecipe:
    """A recipe that beat plain training at equal cost.

    Args:
        recipe: The recipe, without hyperparameters of the user's model.
        task: Where it did.
        share: Its error divided by plain's; None where the metric has no known best value.
        version: The version of autoaccel that ran it.
        date: The day, as in 2026-11-20.
    """

    recipe: Recipe
    task: Sketch
    share: float | None
    version: str
    date: str

    def __post_init__(self) -> None:
        if self.share is not None and not math.isfinite(self.share):
            raise ValueError("a share must be finite")


def memory_file() -> Path | None:
    """Return where the memory is, or None if it is switched off.

    Raises:
        StoreError: If there is no home folder for it.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if given:
        return None if given.lower() == "off" else Path(os.path.expanduser(given))  # noqa: PTH111 - never raises
    try:
        folder = user_data_path("autoaccel", appauthor=False)
    except RuntimeError:  # without a home; older versions of platformdirs return "~/.local/share/autoaccel"
        folder = Path()
    if not folder.is_absolute():
        raise StoreError(f"there is no home folder; set {VARIABLE} to a file, or to off")
    return folder / "memory.jsonl"


def read_memory(path: Path) -> tuple[list[KnownRecipe], int]:
    """Return the recipes, oldest first, and the number of lines that are broken or of a newer version.

    Raises:
        StoreError: If the file is there but cannot be read.
    """
    lines = [_parsed(line) for line in _lines(path)]
    found = [known for known in lines if known is not None]
    return found, len(lines) - len(found)


def remember(path: Path, known: Sequence[KnownRecipe]) -> None:
    """Add recipes. What was known of the same recipe for the same sketch is replaced, what is oldest is dropped.

    Raises:
        StoreError: If the file cannot be written.
    """
    new = {(each.recipe, each.task) for each in known}
    written = [json_text({"schema": SCHEMA, **to_data(each)}) for each in known]
    with _locked(path):
        kept = _filtered(path, lambda number, old: (old.recipe, old.task) not in new)
        _write(path, [*kept, *written][-MOST:])


def forget(path: Path | None, number: int | None) -> None:
    """Remove one recipe or, without a number, all of them.

    Args:
        path: The memory, as `memory_file` returns it.
        number: The recipe's number in the order of `read_memory`, from 1.

    Raises:
        UsageError: If there is no such recipe, or the memory is off.
        StoreError: If the file cannot be written.
    """
    if path is None:
        raise UsageError(f"the memory is off ({VARIABLE}=off)")
    count = len(read_memory(path)[0])
    if number is not None and not 1 <= number <= count:
        raise UsageError(f"there is no recipe {number}; `autoaccel memory list` shows {count}")
    if path.exists():
        with _locked(path):
            _write(path, _filtered(path, lambda other, old: other != number) if number is not None else [])


def _write(path: Path, lines: Sequence[str]) -> None:
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def _filtered(path: Path, keep: Callable[[int, KnownRecipe], bool]) -> list[str]:
    """Return the lines to keep, those of newer versions of autoaccel too, but not those that are broken."""
    kept, number = [], 0
    for line in _lines(path):
        known = _parsed(line)
        number += known is not None
        if keep(number, known) if known is not None else _schema(line) > SCHEMA:
            kept.append(line)
    return kept


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    return [line for line in text.split("\n") if line.strip()]


def _parsed(line: str) -> KnownRecipe | None:
    """Return what a line says, or None if it is broken or of a newer version."""
    if _schema(line) != SCHEMA:
        return None
    data = json.loads(line)
    del data["schema"]
    try:
        return from_data(KnownRecipe, data)
    except (ValueError, AutoaccelError):
        return None


def _schema(line: str) -> int:
    """Return a line's schema; 0 if it has none."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return 0
    schema = data.get("schema") if isinstance(data, dict) else None
    return schema if isinstance(schema, int) else 0


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other runs from writing: two that end at the same time both leave their recipes."""
    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=PATIENCE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise StoreError(f"{path}: in use by another process") from None
    except (OSError, NotImplementedError) as error:
        raise StoreError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    try:
        yield
    finally:
        lock.release()
