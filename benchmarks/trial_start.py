"""Measure the time from a trial's request to its first step, with the warm fork server and in a fresh process.

    python benchmarks/trial_start.py digits
    python benchmarks/trial_start.py shakespeare

Each figure is the time that the supervisor sees between the request and the end of a one-step trial, minus the
worker's time after its first step began; it includes the fork, the messages and the end of the process. A fresh
process is the cost for a tuner that starts an interpreter per trial.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.recipe import PLAIN
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import TrialRequest
from autoaccel.execution.local.supervisor import Supervisor

EXAMPLES = Path(__file__).parents[1] / "examples"
FRESH = """
import sys
from autoaccel.execution.local.fork_server import _preload
_preload()
from autoaccel.core.recipe import PLAIN
from autoaccel.core.clock import SystemClock
from autoaccel.techniques.registry import build
from autoaccel.training.build import assemble
from autoaccel.training.data.discovery import load_target, resolve
clock = SystemClock()
assemble(resolve(load_target(sys.argv[1])), build(PLAIN["plain"].chosen()), {}, 0, 0, clock, clock.now())
"""


def warm(task: str, trials: int) -> list[float]:
    """Return the seconds to the first step of each trial, with the fork server."""
    clock, seconds = SystemClock(), []
    with tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(TaskRef(task), Resources(), clock, Path(folder))
        supervisor.load(None)
        supervisor.profile(None)
        for trial in range(trials):
            asked = clock.now()
            supervisor.start(TrialRequest(trial, PLAIN["plain"], Budget(steps=1), valid_samples=64))
            while not (events := supervisor.poll(10.0)) or not hasattr(events[-1], "outcome"):
                pass
            outcome = events[-1].outcome
            seconds.append(clock.now() - asked - (outcome.cost.seconds - outcome.first_step))
        supervisor.close()
    return seconds


def fresh(task: str, trials: int) -> list[float]:
    """Return the same with a new interpreter per trial."""
    seconds = []
    for _ in range(trials):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-c", FRESH, task], check=True, capture_output=True)
        seconds.append(time.perf_counter() - before)
    return seconds


def main() -> None:
    """Print the median and the quartiles for both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("--trials", type=int, default=20)
    given = parser.parse_args()
    task = str(EXAMPLES / f"{given.task}.py")
    for name, measure, trials in (("fork server", warm, given.trials), ("fresh process", fresh, 5)):
        seconds = measure(task, trials)
        low, _, high = quantiles(seconds, n=4)
        print(f"{given.task}, {name}: {median(seconds):.3f} s (quartiles {low:.3f} to {high:.3f}, {trials} trials)")


if __name__ == "__main__":
    main()
