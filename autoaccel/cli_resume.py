"""The command `autoaccel resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoaccel import api
from autoaccel.cli_result import show
from autoaccel.core.budget import Budget
from autoaccel.core.clock import seconds_since_process_start
from autoaccel.core.paths import usable
from autoaccel.reporting.terminal import Display


def resume(
    run: Annotated[Path, typer.Argument(help="A run folder")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More lines, and tracebacks of errors")] = False,
) -> None:
    """Go on with an unfinished run, with the options that it was begun with."""
    target, budget, options = api.resumed(usable(run, "RUN"))
    view = Display(Budget(budget), quiet=quiet or as_json, verbose=verbose)
    elapsed = seconds_since_process_start()
    show(api.tune(target, budget, options=options, view=view, elapsed=elapsed), as_json)
