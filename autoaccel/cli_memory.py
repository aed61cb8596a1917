"""The commands `autoaccel memory list` and `autoaccel memory forget`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from autoaccel.core.codec import to_data
from autoaccel.errors import UsageError
from autoaccel.reporting.memory import memory_lines
from autoaccel.storage.memory import forget, memory_file, read_memory

memory = typer.Typer(
    no_args_is_help=True, help="Recipes that beat plain in earlier runs; new runs of the same kind try a few early."
)


@memory.command("list")
def list_known(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout")] = False,
) -> None:
    """List the recipes with their results, oldest first."""
    path = memory_file()
    known, unread = read_memory(path) if path else ([], 0)
    if as_json:
        print(json.dumps([to_data(each) for each in known]))
    else:
        print("\n".join(memory_lines(known, unread, path)))


@memory.command("forget")
def forget_known(
    number: Annotated[int | None, typer.Argument(help="As `autoaccel memory list` shows it")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget all of them")] = False,
) -> None:
    """Forget one recipe, or all."""
    if (number is None) is not everything:
        raise UsageError("autoaccel memory forget takes the number of a recipe, or --all")
    forget(memory_file(), number)
