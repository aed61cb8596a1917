"""The command `autoaccel resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoaccel import api
from autoaccel.cli_result import show
from autoaccel.core.clock import seconds_since_process_start


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
    elapsed = seconds_since_process_start()
    show(api.resume(run, add_budget=add_budget, quiet=quiet or as_json, verbose=verbose, elapsed=elapsed), as_json)
