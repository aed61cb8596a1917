"""The command `autoaccel doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from autoaccel.errors import StoreError


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout")] = False,
) -> None:
    """Check the machine, the installation, and the disk of the current folder; exit 5 if that will not do."""
    # Imported here: torch and Optuna take seconds.
    from autoaccel.tuner.doctor import doctor_lines, examine

    data = examine(Path())
    print(json.dumps(data) if as_json else "\n".join(doctor_lines(data)))
    if not data["ok"]:
        raise StoreError(f"{data['folder']} will not do for a run")
