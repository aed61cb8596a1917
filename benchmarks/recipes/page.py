"""The comparison as tables for the terminal and as one HTML page that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup
from rich.table import Table

from benchmarks.recipes.harness import Results
from benchmarks.recipes.methods import OURS
from benchmarks.recipes.statistics import Found, Line, found, standings
from benchmarks.search.page import html, render

COLUMNS = ("method", "median", "spread", "ours is better by", "better / worse")
OVERVIEW = ("method", "mean place (0 best, 1 worst)", "tasks where our median is better / worse")


def tables(results: Results) -> list[Table]:
    """Return a table of each task, a line a method, and one of all tasks."""
    every = found(results)
    return [*map(_table, every), _overview(every)]


def _overview(every: Sequence[Found]) -> Table:
    table = Table(title="all tasks")
    for name in OVERVIEW:
        table.add_column(name)
    for row in overview(every):
        table.add_row(*row)
    return table


def overview(every: Sequence[Found]) -> list[Sequence[str]]:
    """Return the cells of the table of all tasks."""
    return [(one.method, f"{one.place:.2f}", f"{one.behind} / {one.ahead}") for one in standings(every)]


def _table(one: Found) -> Table:
    table = Table(title=f"{one.task}: test {one.metric}", caption=reached(one))
    for name in COLUMNS:
        table.add_column(name)
    for line in one.lines:
        table.add_row(*cells(line), style="bold" if line.method == OURS else None)
    return table


def cells(line: Line) -> Sequence[str]:
    """Return the cells of a method."""
    low, high = min(line.values.values()), max(line.values.values())
    shown = [line.method, f"{line.middle:.4f}", f"{low:.4f} to {high:.4f}"]
    if line.better is None:
        return [*shown, "-", "-"]
    error = "" if math.isnan(line.error) else f" ± {line.error:.4f}"
    return [*shown, f"{line.better:+.4f}{error}", f"{line.wins} / {line.losses}"]


def reached(one: Found) -> str:
    """Say whether our recipe reaches what plain does in a third of the time."""
    values = ", ".join(f"{one.third[seed]:.4f}" for seed in sorted(one.third))
    as_good, seeds = one.reached
    return f"our recipe in a third of the time: {values}; as good as plain with {as_good} of {seeds} seeds"


def write_page(results: Results) -> str:
    """Return the HTML page."""
    every = found(results)
    return render(
        Path(__file__).parent,
        tasks=[(one, [cells(line) for line in one.lines], reached(one), _figure(one)) for one in every],
        overview=overview(every),
        columns=COLUMNS,
        all_columns=OVERVIEW,
        ours=OURS,
    )


def _figure(one: Found) -> Markup:
    figure = go.Figure()
    for line in reversed(one.lines):
        figure.add_box(
            x=list(line.values.values()), name=line.method, boxpoints="all", pointpos=0, line={"width": 1},
            marker={"color": "#d62728" if line.method == OURS else "#1f77b4"}, showlegend=False,
        )  # fmt: skip
    figure.update_xaxes(title=f"test {one.metric}")
    figure.update_layout(template="plotly_white", height=80 + 40 * len(one.lines), margin={"t": 10, "b": 40})
    return html(figure)
