"""Do to Optuna, and to Ray Tune where it is installed, what tests/faults does to autoaccel; print what comes of it.

    pip install 'ray[tune]'  # in an environment of its own

    python -m benchmarks.faults.peers
    python -m benchmarks.faults.peers --only torn_journal

Each fault runs in a process and a folder of its own. `kept` and `not kept` are about the promise that is printed;
the number is the row in docs/reliability.md.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import optuna

from benchmarks.faults import optuna_storages, optuna_trials  # noqa: F401  they fill FAULTS
from benchmarks.faults.table import FAULTS

# Ray alone has no Tune, which needs more.
TUNE = all(map(importlib.util.find_spec, ("ray", "pyarrow")))
if TUNE:
    from benchmarks.faults import ray_trials  # noqa: F401  too

ROOT = Path(__file__).parents[2]
ONE = """
import json, sys
from benchmarks.faults.peers import FAULTS
print(json.dumps(FAULTS[sys.argv[1]].run()))
"""


def attempt(name: str, seconds: float = 180.0) -> tuple[bool, str]:
    """Run one fault; return whether the promise was kept, and what was seen."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-c", ONE, name]
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, errors = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                return False, f"did not end in {seconds:g} s"
            finally:
                with suppress(ProcessLookupError):  # its workers, too
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}:\n{errors}")
    kept, seen = json.loads(output.splitlines()[-1])
    return kept, seen


def main() -> None:
    """Print one line per fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    rows = sorted(FAULTS, key=lambda name: FAULTS[name].row)
    parser.add_argument("--only", nargs="*", choices=rows, default=rows)
    for name in parser.parse_args().only:
        kept, seen = attempt(name)
        fault = FAULTS[name]
        print(f"| {fault.row} | {name} | {fault.promise} | {'kept' if kept else 'not kept'} | {seen} |", flush=True)
    print(f"Optuna {optuna.__version__}")
    print(f"Ray {version('ray')}" if TUNE else "Ray Tune: not run, ray[tune] is not installed")


if __name__ == "__main__":
    main()
