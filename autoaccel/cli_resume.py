"""The command `autoaccel resume`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from autoaccel import api
from autoaccel.cli_result import show
from autoaccel.core.budget import parse_budget
from autoaccel.core.clock import seconds_since_process_start
from autoaccel.core.paths import usable
from autoaccel.reporting.terminal import Display


def resume(
    run: Annotated[Path, typer.Argument(help="A run folder")],
    add_budget: Annotated[
        str | None, typer.Option(help="What to add to its budget, such as 1h; the run may be complete")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More lines, and tracebacks of errors")] = False,
) -> None:
    """Go on with a run, with the options that it was begun with, and with a larger budget if that is asked for."""
    target, budget, options = api.resumed(usable(run, "RUN"))
    options = replace(options, add_budget=add_budget)
    whole = budget.plus(parse_budget(add_budget)) if add_budget else budget
    view = Display(whole, quiet=quiet or as_json, verbose=verbose)
    elapsed = seconds_since_process_start()
    show(api.tune(target, budget, options=options, view=view, elapsed=elapsed), as_json)
