"""A forecast as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def forecast_lines(data: Mapping[str, Any]) -> list[str]:
    """Return what the command line prints.

    Args:
        data: See `autoaccel.tuner.forecast_data.forecast_data`.
    """
    name = data["metric"]["name"]
    once = next(row["budget"] for row in data["budgets"] if row["factor"] == 1)
    head = f"forecast: {data['runs']} {data['source']}; intervals meant to hold {data['covered']:.0%}"
    error = f"the distance of {name} from its best" if data["metric"]["direction"] == "max" else name
    said = data["silent"] or f"x 1 is {error} after plain training with all of {once}"
    return [head, said, *(line for row in data["budgets"] for line in _row(row))]


def _row(row: Mapping[str, Any]) -> list[str]:
    trials = ", ".join(f"{count:.0f} x {length}" for length, count in row["trials"].items()) or "no search"
    lines = [f"  {row['budget']}: {trials}; then a training of {row['final']}"]
    if row["simulated"] < 1:
        lines.append(f"    only {row['simulated']:.0%} of the trials were simulated; the others rarely change much")
    if row["outcome"]:
        lines.append(f"    x {_interval(row['outcome'])}; plain x {_interval(row['plain'])}")
    return lines


def _interval(found: Mapping[str, float]) -> str:
    if found["low"] == found["high"]:
        return f"{found['expected']:.3g}"
    return f"{found['expected']:.3g} ({found['low']:.3g} to {found['high']:.3g})"
