"""Measure what a run uses of a core beside its trials, and what the start of its fork server costs.

    python -m benchmarks.faults.supervisor_cost --minutes 10

A real `autoaccel tune` on a task of slow steps, with a length of trainings (`--max-epochs`) that makes trials of
about 20 seconds; what they last is printed. The times are user and system seconds of each process itself, looked at
four times a second, so that the last quarter of a second is missing.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import psutil

from tests.faulty_runs import SLOW, Run

NAMES = ("supervisor", "warden", "fork server")


def parts(run: Run) -> dict[str, psutil.Process]:
    """Return the processes of a run that train nothing, as far as they are there."""
    found = [psutil.Process(run.process.pid)]
    for _ in NAMES[1:]:
        if not (children := found[-1].children()):
            break
        found.append(children[0])
    return dict(zip(NAMES, found, strict=False))


def watch(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return psutil's CPU times of each part at the end, and those when the first worker was forked."""
    used: dict[str, Any] = {}
    start: dict[str, Any] = {}
    while run.process.poll() is None:
        try:
            seen = parts(run)
            used.update({name: process.cpu_times() for name, process in seen.items()})
            if not start and len(seen) == len(NAMES) and seen[NAMES[-1]].children():
                start = dict(used)
        except psutil.Error:
            pass  # it ended between two looks
        time.sleep(0.25 if start else 0.02)
    return used, start


def import_torch(times: int = 3) -> float:
    """Return the mean user CPU seconds of `import torch`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    for _ in range(times):
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) / times


def lengths(run: Run) -> list[float]:
    """Return the seconds of each trial of a run."""
    return [data["outcome"]["cost"]["seconds"] for kind, data in run.entries() if kind == "finished"]


def main() -> None:
    """Print the shares, and the seconds of the start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--max-epochs", type=float, default=2000.0, help="The longest training, which sets the others."
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        budget = ("--budget", f"{60 * given.minutes:g}s", "--max-epochs", f"{given.max_epochs:g}")
        run, began = Run(Path(name) / "run", *budget, model=SLOW), time.monotonic()
        used, start = watch(run.start())
        seconds = time.monotonic() - began
        code, _, errors = run.end()
        if code:
            raise SystemExit(f"the run ended with {code}: {errors}")
        trials = lengths(run)
    print(f"{seconds:.0f} s, {len(trials)} trials of {mean(trials):.1f} s on average")
    for part in NAMES:
        whole, begun = (times[part].user + times[part].system for times in (used, start))
        print(
            f"{part:12} {whole:6.2f} CPU s, {whole / seconds:.2%} of a core; without the start {whole - begun:.2f}"
        )
    whole = sum(times.user + times.system for times in used.values())
    print(f"{'all':12} {whole:6.2f} CPU s, {whole / seconds:.2%} of a core, {whole / len(trials):.2f} a trial")
    torch, server = import_torch(), start[NAMES[-1]].user
    print(
        f"start: user CPU of the fork server {server:.2f} s, of import torch {torch:.2f} s: x {server / torch:.2f}"
    )


if __name__ == "__main__":
    main()
