"""The report's figures: pure functions from a run's record to a Plotly figure."""

from __future__ import annotations

from html import escape

import plotly.graph_objects as go

from autoaccel.core.quantities import FLOPS
from autoaccel.core.trial import Purpose
from autoaccel.storage.records import RunRecord

COLORS = {
    Purpose.BASELINE: "#e07b39",
    Purpose.SEARCH: "#4c78a8",
    Purpose.FINAL: "#54a24b",
    Purpose.EVIDENCE: "#b279a2",
    Purpose.PACE: "#9d9d9d",
}


def trials_figure(record: RunRecord) -> go.Figure:
    """Plot the metric of every complete trial against its budget."""
    figure = go.Figure()
    for purpose in Purpose:
        mine = [t for t in record.trials if t.request.purpose is purpose and t.final]
        figure.add_scatter(
            x=[t.request.budget.size for t in mine],
            y=[t.final.metric for t in mine if t.final],
            text=[escape(f"trial {t.request.trial}: {t.request.origin}") for t in mine],
            mode="markers",
            name=purpose.value,
            marker={"color": COLORS[purpose], "size": 10},
        )
    first = next(iter(record.trials), None)
    quantity = next(iter(first.request.budget), "") if first else ""
    unit = "FLOPs" if quantity == FLOPS else quantity
    return _styled(figure, f"budget of the trial, {unit}", _metric(record), log=True)


def blank_figure() -> go.Figure:
    """Return a figure of nothing, whose making loads what the others need."""
    figure = go.Figure()
    figure.add_scatter(x=[1.0], y=[1.0], text=["-"], mode="markers", marker={"color": "#000000", "size": 10})
    return _styled(figure, "x", "y", log=True)


def front_figure(record: RunRecord) -> go.Figure:
    """Plot the metric of every complete trial against the second objective, and the front as a line."""
    figure, (_, axis) = go.Figure(), record.result["objective"]
    done = [(t, {**t.outcome.cost, **t.outcome.measured}) for t in record.trials if t.final and t.outcome]
    shown = [(t, amounts[axis]) for t, amounts in done if axis in amounts]
    figure.add_scatter(
        x=[amount for _, amount in shown],
        y=[t.final.metric for t, _ in shown if t.final],
        text=[escape(f"trial {t.number}: {t.request.origin}") for t, _ in shown],
        mode="markers",
        name="trials",
        marker={"color": COLORS[Purpose.SEARCH], "size": 8},
    )
    rows = record.result["front"]
    figure.add_scatter(
        x=[row[axis] for row in rows],
        y=[row["metric"] for row in rows],
        text=[escape(f"trial {row['trial']}: {row['origin']}") for row in rows],
        mode="lines+markers",
        name="front",
        line={"color": COLORS[Purpose.FINAL], "shape": "hv"},
    )
    return _styled(figure, axis, _metric(record), log=True)


def curves_figure(record: RunRecord) -> go.Figure:
    """Plot the metric against progress for every trial with reports."""
    figure = go.Figure()
    for trial in record.trials:
        if not trial.reports:
            continue
        final = trial.request.purpose is Purpose.FINAL
        figure.add_scatter(
            x=[r.progress for r in trial.reports],
            y=[r.metric for r in trial.reports],
            mode="lines+markers",
            name=escape(f"{trial.request.trial} {trial.request.origin}"),
            line={"color": COLORS[trial.request.purpose], "width": 3 if final else 1},
        )
    return _styled(figure, "progress", _metric(record))


def spent_figure(record: RunRecord) -> go.Figure:
    """Plot the wall-clock seconds of each phase."""
    figure = go.Figure()
    for phase, cost in record.result.get("spent", {}).items():
        figure.add_bar(y=["run"], x=[cost["seconds"]], name=escape(phase), orientation="h")
    figure.update_layout(barmode="stack")
    return _styled(figure, "seconds", "", height=200)


def _metric(record: RunRecord) -> str:
    return escape(record.facts.metric) if record.facts else "metric"


def _styled(figure: go.Figure, x: str, y: str, log: bool = False, height: int = 380) -> go.Figure:
    gray = "#888"
    axis = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False}
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": gray},
        xaxis={"title": x, "type": "log" if log else "linear", **axis},
        yaxis={"title": y, **axis},
    )
    return figure
