"""The result of a run as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from autoaccel.core.quantities import format_seconds

SHOWN = 5
"""Trials of the leaderboard that are shown."""


def result_lines(data: Mapping[str, Any], folder: Path) -> list[str]:
    """Return what the command line prints at the end.

    Args:
        data: The contents of `result.json`.
        folder: The run folder.
    """
    name, recipe, report = data["metric"]["name"], folder / "recipe.yaml", folder / "report.html"
    train = f"    autoaccel train {quote(str(data.get('target')))} --recipe {quote(str(recipe))} --budget 30m"
    return [
        data["headline"],
        *([data["evidence"]] if data.get("evidence") else []),
        *_final(name, data.get("final")),
        *_delivered(name, data.get("delivered", {})),
        *constraint_lines(data.get("constraints", [])),
        *front_lines(name, data),
        *optimism_lines(name, data.get("delivered")),
        *evidence_lines(name, data),
        *(
            f"  trial {row['trial']:<4} {row['metric']:.4g}  {row['budget']:>14}  {row['origin']}"
            for row in data.get("leaderboard", [])[:SHOWN]
        ),
        *(f"  failed: {failure}" for failure in data.get("failures", [])),
        f"Everything is in {folder}. Load the model from there with:",
        *(f"    {line}" for line in str(data.get("load", "")).splitlines()),
        *([f"Next: open {report}, or train longer:"] if report.exists() else []),
        train,
    ]


def _final(name: str, final: Mapping[str, Any] | None) -> list[str]:
    if not final:
        return []
    early = f", {final['reason']}, after {format_seconds(final['cost']['seconds'])}" if final["reason"] else ""
    kept = final.get("kept")
    return [
        f"Final training with {final['budget']}{early}: {_scores(name, final['validation'], final['test'])}",
        *([f"  the test set is not scored: {final['untested']}"] if final.get("untested") else []),
        *([f"  {kept['why']}"] if kept else []),
    ]


def _delivered(name: str, delivered: Mapping[str, Any]) -> list[str]:
    if delivered.get("what") not in ("trial", "plain"):
        return []
    return [f"Delivered is trial {delivered['trial']}: {_scores(name, delivered, delivered['test'])}"]


def constraint_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line about each constraint: whether the delivered model keeps it, and its value."""
    lines = []
    for each in found:
        value = "unknown" if each["value"] is None else f"{each['value']:.4g}"
        alone = f" ({each['measured']:.4g} in this trial alone)" if each["measured"] is not None else ""
        own = "" if each["measured"] == each["value"] else alone
        lines.append(f"{each['constraint']}: {'kept' if each['kept'] else 'BROKEN'}, it is {value}{own}")
    return lines


def front_lines(name: str, data: Mapping[str, Any]) -> list[str]:
    """Return the front as a table, and how to take a recipe from it."""
    rows = data.get("front")
    if not rows:
        return []
    axis = data["objective"][1]
    head = f"Front of {name} and {axis}, {len(rows)} models (autoaccel export RUN --trial N):"
    lines = [
        f"  trial {row['trial']:<4} {row['metric']:>8.4g}  {row[axis]:>9.4g}  {row['budget']:>14}  "
        f"{row['origin']}: {row['summary']}"
        for row in rows
    ]
    return [head, *lines]


def optimism_lines(name: str, delivered: Mapping[str, Any] | None) -> list[str]:
    """Return a line about how much better the delivered model is on validation than on test, if it is known."""
    found = (delivered or {}).get("optimism")
    if not found:
        return []
    error = found["standard_error"]
    noise = "" if error is None else f" (standard error {error:.2g})"
    difference = f"{name} {found['difference']:+.2g}{noise}"
    return [f"Validation minus test: {difference}; what is chosen by validation is a little too good there"]


def evidence_lines(name: str, data: Mapping[str, Any]) -> list[str]:
    """Return what trainings with other seeds and without parts of the recipe have shown, one line each."""
    lines, seeds = [], data.get("seeds")
    if seeds:
        interval = f"{seeds['gain']:.3g} (95 %: {seeds['low']:.3g} to {seeds['high']:.3g})"
        trained = f"Over {len(seeds['seeds'])} seeds with {seeds['length']} each"
        lines.append(f"{trained}, the recipe's {name} is better than plain's by {interval}")
    for part in data.get("parts") or ():
        noise = "" if part["noise"] is None else f"; two seeds differ by about {part['noise']:.2g}"
        change = f"{abs(part['loss']):.2g} {'worse' if part['loss'] > 0 else 'better'}"
        lines.append(f"  without {part['without']}: {name} {part['metric']:.4g}, {change}{noise}")
    return lines


def _scores(name: str, validation: Mapping[str, Any], test: Mapping[str, Any] | None) -> str:
    tested = f", {test['metric']:.4g} on the test set" if test and test["metric"] is not None else ""
    return f"{name} {validation['metric']:.4g} on the validation set{tested}"
