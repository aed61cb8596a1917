"""Measure by how much runs with a budget of seconds are late, on tasks that make that hard.

    python -m benchmarks.faults.overshoot --runs 30
    python -m benchmarks.faults.overshoot --runs 30 --busy 4

The clock of this script runs from before the command is started until it has ended, so that the interpreter's start
and end are in it. A negative value is a run that ended early.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.faulty_runs import MODEL, Run

LAYER = """import os, subprocess, sys, time
class Odd(nn.ReLU):
    calls = 0
    def forward(self, x):
        Odd.calls += self.training
        {}
        return super().forward(x)
"""


def _with(line: str) -> str:
    """Return the model file with a line that runs in every forward."""
    return MODEL.replace("nn.ReLU()", "Odd()").replace(
        "torch.manual_seed(0)", LAYER.format(line) + "torch.manual_seed(0)"
    )


FORKS = (
    "if self.training and Odd.calls == 20: subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
)
TASKS = {
    "plain": MODEL,
    "hanging step": _with("if self.training and Odd.calls > 100: time.sleep(1000)"),
    "slow step": _with("time.sleep(1.5 if self.training else 0)"),
    "slow evaluation": _with("time.sleep(0 if self.training else 1.5)"),
    "slow import": "import time\ntime.sleep(6)\n" + MODEL,
    "forking": _with(FORKS),
}
"""Model files by name. `hanging step` hangs in its 101st step of a process; `slow step` and `slow evaluation` take
1.5 s for each batch, with which a short budget may end before anything is trained (exit code 3)."""


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep processes busy beside what is measured."""
    beside = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in beside:
            process.kill()
            process.wait()


def once(task: str, seconds: float, folder: Path) -> tuple[float, int, bool]:
    """Run one task; return the seconds over its budget, the exit code, and whether nothing was left after 5 s."""
    run = Run(folder, "--budget", f"{seconds:g}s", model=TASKS[task])
    began = time.monotonic()
    code, _, errors = run.start().end(20 * seconds)
    late = time.monotonic() - began - seconds
    if code:
        print(f"  {task}: exit code {code}: {' '.join(errors.strip().splitlines()[-1:])}", flush=True)
    return late, code, run.nothing_is_left(5.0)


def main() -> None:
    """Print a row per task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--busy", type=int, default=0, help="Processes that are kept busy beside it.")
    parser.add_argument("--seconds", type=float, default=20.0, help="The budget.")
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    given = parser.parse_args()
    rows = [
        "| task | largest | median | late | with a model | nothing left |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as name, busy(given.busy):
        for task in given.tasks:
            runs = [once(task, given.seconds, Path(name) / f"{task}-{n}") for n in range(given.runs)]
            late = [each[0] for each in runs]
            worst, middle = max(late), median(late)
            rows.append(
                f"| {task} | {worst:+.2f} s ({worst / given.seconds:+.1%}) | {middle:+.2f} s"
                f" ({middle / given.seconds:+.1%}) | {sum(x > 0 for x in late)} of {len(runs)}"
                f" | {sum(not code for _, code, _ in runs)} | {sum(clean for *_, clean in runs)} |"
            )
    print(f"--budget {given.seconds:g}s, {given.busy} busy processes", *rows, sep="\n")


if __name__ == "__main__":
    main()
