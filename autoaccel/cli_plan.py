"""The command `autoaccel plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from autoaccel import api
from autoaccel.core.budget import parse_budget
from autoaccel.core.clock import seconds_since_process_start
from autoaccel.errors import UsageError
from autoaccel.reporting.forecast import forecast_lines
from autoaccel.tuner.options import Options


def plan(
    target: Annotated[str, typer.Argument(help="As for tune", metavar="MODEL")],
    budget: Annotated[str, typer.Option("--budget", "-b", help="As for tune: 90m, 4h, '2e18 FLOPs'")] = "",
    space: Annotated[str | None, typer.Option(help="As for tune")] = None,
    metric: Annotated[str | None, typer.Option(help="As for tune")] = None,
    seed: Annotated[int, typer.Option(help="As for tune")] = 0,
    devices: Annotated[str, typer.Option(help="As for tune")] = "",
    workers: Annotated[
        int | None, typer.Option(help="Trials side by side, on devices that need not be there")
    ] = None,
    warm_start: Annotated[Path | None, typer.Option(help="As for tune")] = None,
    max_epochs: Annotated[float | None, typer.Option(help="As for tune")] = None,
    no_memory: Annotated[bool, typer.Option("--no-memory", help="As for tune")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout")] = False,
) -> None:
    """Tell what half, once and twice a budget would bring, before anything is trained."""
    if not budget:
        raise UsageError("a budget is needed, such as --budget 4h or --budget '2e18 FLOPs'")
    options = Options(
        space,
        metric,
        seed=seed,
        devices=devices,
        workers=workers,
        memory=not no_memory,
        warm_start=warm_start,
        max_epochs=max_epochs,
    )
    elapsed = seconds_since_process_start()
    lines, told = api.forecast(target, parse_budget(budget), options=options, elapsed=elapsed)
    print(json.dumps({"plan": lines, **told}) if as_json else "\n".join([*lines, *forecast_lines(told)]))
