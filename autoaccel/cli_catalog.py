"""The commands that show what there is: search spaces, techniques, and the schemas of what users write."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from autoaccel.core.recipe import Recipe
from autoaccel.errors import UsageError, suggestion
from autoaccel.search_spaces import names as space_names
from autoaccel.search_spaces import read as read_space
from autoaccel.search_spaces import text as space_text
from autoaccel.spaces.json_schema import space_schema
from autoaccel.techniques.cards import card, card_lines, in_order, summary_lines
from autoaccel.techniques.effects import read_effects


def spaces(name: Annotated[str | None, typer.Argument(help="A space to show")] = None) -> None:
    """List the search spaces, or show one."""
    if name is None:
        for each in space_names():
            data: Any = read_space(each)
            print(f"{each:10} {str(data.get('description', '')).strip()}")
        return
    read_space(name)
    print(space_text(name), end="")


def schema(of: Annotated[str, typer.Argument(help="recipe or space", metavar="recipe|space")]) -> None:
    """Print the JSON schema of a recipe or a search space, for editors."""
    if of not in ("recipe", "space"):
        raise UsageError(f"there is a schema of a recipe and of a space, not of {of!r}")
    if of == "recipe":
        print(json.dumps(Recipe.json_schema(), indent=2))
        return
    # Imported here: only the classes know which techniques there are, and importing those loads torch.
    from autoaccel.techniques.registry import catalog

    print(json.dumps(space_schema(catalog()), indent=2))


def techniques(
    name: Annotated[str | None, typer.Argument(help="A technique to show")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout")] = False,
) -> None:
    """List the techniques, or show one with its ranges and measured effects."""
    # Imported here: listing the techniques imports their classes, and these import torch.
    from autoaccel.techniques.registry import catalog

    known, effects = catalog(), read_effects()
    if name is not None and name not in known:
        raise UsageError(f"no technique {name!r}; `autoaccel techniques` lists all{suggestion(name, known)}")
    if as_json:
        chosen = [known[name]] if name else in_order(known)
        print(json.dumps([card(info, effects.get(info.name, [])) for info in chosen]))
    elif name:
        print("\n".join(card_lines(known[name], effects.get(name, []), known)))
    else:
        print("\n".join(summary_lines(known)))
