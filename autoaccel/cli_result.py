"""How a result is printed, and which exit code it has."""

from __future__ import annotations

import json

from autoaccel.errors import ConstraintError, InterruptedRunError, PreemptedRunError
from autoaccel.reporting.result import result_lines
from autoaccel.tuner.result import Result


def show(result: Result, as_json: bool) -> None:
    """Print a result; raise what sets the exit code if it was interrupted or no model keeps the constraints."""
    if as_json:
        print(json.dumps(result.data, default=str))
    else:
        print("\n".join(result_lines(result.data, result.folder)))
    if result.data["status"] == "preempted":
        raise PreemptedRunError(
            f"asked to end; what was found is in {result.folder}, and --resume goes on from there"
        )
    if result.data["status"] == "interrupted":
        raise InterruptedRunError(f"interrupted; what was found is in {result.folder}")
    if any(not each["kept"] for each in result.data.get("constraints", [])):
        raise ConstraintError(f"no model keeps the constraints; what breaks them least is in {result.folder}")
