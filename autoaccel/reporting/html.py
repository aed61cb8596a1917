"""The HTML report: one self-contained page that loads nothing and escapes text from users."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from autoaccel.core.quantities import format_flops, format_seconds
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.trial import OutcomeKind
from autoaccel.errors import StoreError
from autoaccel.reporting.figures import blank_figure, curves_figure, front_figure, spent_figure, trials_figure
from autoaccel.reporting.result import constraint_lines, evidence_lines, optimism_lines
from autoaccel.storage.records import RunRecord

FAULTS = set(OutcomeKind) - {OutcomeKind.COMPLETE, OutcomeKind.PRUNED}
TITLES = ("Trials by budget", "Learning curves", "Where the time went")


def write_report(record: RunRecord) -> str:
    """Return the HTML of the report.

    Args:
        record: A run, finished or not.

    Raises:
        StoreError: If the result is not one of ours.
    """
    recipe = Recipe.from_data(record.result["recipe"]) if record.result.get("recipe") else None
    template = _templates().get_template("report.html")
    try:
        return template.render(**_shown(record, recipe))
    except UndefinedError as error:
        raise StoreError(f"result.json of this run lacks what the report shows: {error.message}") from error


@cache
def _templates() -> Environment:
    """Return the environment, once: compiling the templates takes longer than filling them."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(number=_number, seconds=format_seconds, flops=format_flops)
    return environment


def warm_up() -> None:
    """Compile the template, and load what draws: at the end of a run this would take a second of the budget."""
    _templates().get_template("report.html")
    blank_figure().to_html(full_html=False, include_plotlyjs=False)
    get_plotlyjs()


def _shown(record: RunRecord, recipe: Recipe | None) -> dict[str, object]:
    """Return the values of the template's variables."""
    return {
        "record": record,
        "result": record.result,
        "recipe": recipe.to_yaml() if recipe else "",
        "optimism": optimism_lines(record.result.get("metric", {}).get("name", ""), record.result.get("delivered")),
        "shown": evidence_lines(record.result.get("metric", {}).get("name", ""), record.result),
        "constraints": constraint_lines(record.result.get("constraints", [])),
        "differences": _differences(recipe) if recipe else [],
        "figures": _figures(record) if record.trials else [],
        "plotly": Markup(get_plotlyjs()) if record.trials else "",
        "failures": [t for t in record.trials if t.outcome and t.outcome.kind in FAULTS],
    }


def _figures(record: RunRecord) -> list[tuple[str, Markup]]:
    made = [*zip(TITLES, (trials_figure(record), curves_figure(record), spent_figure(record)), strict=True)]
    if record.result.get("front"):
        made.insert(0, ("Front", front_figure(record)))
    return [
        (title, Markup(figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False})))
        for title, figure in made
    ]


def _differences(recipe: Recipe) -> Sequence[tuple[str, object, object]]:
    """List the recipe's differences from plain: parameter, plain's value, own value."""
    plain, own = PLAIN["plain"].flat(), recipe.flat()
    names = [name for name in {**plain, **own} if plain.get(name) != own.get(name)]
    return [(name, plain.get(name, "-"), own.get(name, "-")) for name in names]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
