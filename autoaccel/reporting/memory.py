"""The memory of earlier runs as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autoaccel.core.recipe import Recipe
from autoaccel.storage.memory import VARIABLE, KnownRecipe


def memory_lines(known: Sequence[KnownRecipe], unread: int, path: Path | None) -> list[str]:
    """Return a table of what is known.

    Args:
        known: The memory, oldest first.
        unread: Number of lines of the file that are skipped.
        path: The file; None if the memory is off.
    """
    if path is None:
        return [f"the memory is off ({VARIABLE}=off)"]
    skipped = [f"lines skipped, since they are broken or of a newer version: {unread}"] if unread else []
    if not known:
        return [f"nothing is remembered in {path}", *skipped]
    heads = ("", "kind", "metric", "error / plain's", "date", "recipe")
    rows = [heads, *(_row(number, each) for number, each in enumerate(known, 1))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, *skipped, f"in {path}"]


def _row(number: int, known: KnownRecipe) -> tuple[str, ...]:
    kind = f"{known.task.kind}, {'classes' if known.task.classes else 'values'}"
    share = "better" if known.share is None else f"{known.share:.3g}"
    return str(number), kind, known.task.metric, share, known.date, short(known.recipe)


def short(recipe: Recipe) -> str:
    """Return a recipe in a few words: optimizer and rate, schedule, batch size, techniques by name."""
    rate, batch = recipe.optimizer.parameters.get("lr"), recipe.batch_size.parameters.get("size")
    optimizer = f"{recipe.optimizer.name} {rate:.2g}" if isinstance(rate, int | float) else recipe.optimizer.name
    size = [f"batch {batch}"] if isinstance(batch, int) else []
    return ", ".join([optimizer, recipe.learning_rate.name, *size, *recipe.techniques])
