"""The commands `autoaccel status` and `autoaccel repair`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from autoaccel.storage.records import RunRecord, read_record

Run = Annotated[Path, typer.Argument(help="A run folder")]


def status(
    run: Run, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout")] = False
) -> None:
    """Tell how far a run is, live or ended; locks and writes nothing."""
    from autoaccel.reporting.status import read_status, status_data, status_lines
    from autoaccel.storage.json_files import json_text

    found = read_status(run)
    print(json_text(status_data(found)) if as_json else "\n".join(status_lines(found)))


def repair(run: Run) -> None:
    """Make a damaged run folder usable again: for --resume, and all its files from what is whole."""
    # Imported here: few need it, and all commands would wait for it.
    from autoaccel.tuner.repair import repair as mend

    mend(run, print)


def read_run(run: Path) -> RunRecord:
    """Read a run as far as it is whole, and tell on stderr what is not."""
    record = read_record(run)
    for line in record.notes:
        print(f"warning: {line}", file=sys.stderr)
    return record
