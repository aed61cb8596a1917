"""The benchmark's results as tables for the terminal and as one HTML page that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from rich.table import Table

from benchmarks.search.harness import Results
from benchmarks.search.methods import OURS
from benchmarks.search.statistics import Row, rows


def suites(results: Results) -> list[str]:
    """Return the suites that have results."""
    return sorted({case.suite for case in results})


def tables(results: Results) -> list[Table]:
    """Return a table of each suite: a line a method, a column a budget, and ours less the best peer."""
    return [_table(suite, rows(results, suite)) for suite in suites(results)]


def _table(suite: str, found: Sequence[Row]) -> Table:
    budgets = sorted({row.budget for row in found})
    table = Table(title=f"{suite}: mean regret ± standard error by budget in full trainings")
    for name in ("method", *(f"{budget:g}" for budget in budgets)):
        table.add_column(name)
    for method in _methods(found):
        cells = {row.budget: str(row.regret) for row in found if row.method == method}
        table.add_row(method, *(cells.get(budget, "-") for budget in budgets))
    table.add_section()
    for method in (name for name in _methods(found) if name.startswith(OURS)):
        own = {row.budget: row for row in found if row.method == method}
        cells = {at: f"{row.difference}\n{row.rival}" for at, row in own.items() if row.difference}
        table.add_row(f"{method} less the best peer", *(cells.get(budget, "-") for budget in budgets))
        shares = {at: f"{row.worse:.0%}" for at, row in own.items() if row.worse is not None}
        table.add_row("worse than the default", *(shares.get(budget, "-") for budget in budgets))
    return table


def _methods(found: Sequence[Row]) -> list[str]:
    """Return the methods, ours first and then by their regret with the largest budget."""
    last = {row.method: (-row.budget, row.regret.value) for row in found}
    return sorted(last, key=lambda method: (not method.startswith(OURS), last[method]))


def write_page(results: Results) -> str:
    """Return the HTML page."""
    found = {suite: rows(results, suite) for suite in suites(results)}
    return render(
        Path(__file__).parent,
        suites=found,
        seeds={suite: len({case.seed for case in results if case.suite == suite}) for suite in found},
        tasks={suite: len({case.task for case in results if case.suite == suite}) for suite in found},
        figures={suite: _figure(own) for suite, own in found.items()},
    )


def render(folder: Path, **values: object) -> str:
    """Return the page of a folder's `page.html`, which extends the `base.html` beside this file."""
    folders = FileSystemLoader([folder, Path(__file__).parent])
    environment = Environment(loader=folders, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(plotly=Markup(get_plotlyjs()), **values)


def _figure(found: Sequence[Row]) -> Markup:
    figure = go.Figure()
    for method in _methods(found):
        own = [row for row in found if row.method == method]
        figure.add_scatter(
            x=[row.budget for row in own],
            y=[row.regret.value for row in own],
            error_y={"array": [row.regret.error for row in own]},
            name=method,
            line={"width": 4 if method == OURS else 1.5},
        )
    figure.update_xaxes(
        title="budget in full trainings", type="log", tickvals=sorted({row.budget for row in found})
    )
    figure.update_yaxes(title="mean regret", rangemode="tozero")
    figure.update_layout(template="plotly_white", height=480, margin={"t": 20})
    return html(figure)


def html(figure: go.Figure) -> Markup:
    """Return a figure as a part of a page that loads plotly."""
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False}))
