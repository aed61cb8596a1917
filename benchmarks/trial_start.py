"""Measure the time from a trial's request to its first training step, and how many samples are read for it.

    python benchmarks/trial_start.py digits
    python benchmarks/trial_start.py shakespeare
    python benchmarks/trial_start.py large
    python benchmarks/trial_start.py digits --executor ray

Trials run in processes that the fork server forks, after the profile, as in a run. The clock stops in the first
forward of training, so that the fork, the messages, the set-up and the first batch are in it. Then as many trials
are asked for at once, and trained one after another. For an example, a fresh process is measured too: the cost for
a tuner that starts an interpreter per trial.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler, random_split

from autoaccel import Task
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Finished
from autoaccel.core.recipe import PLAIN
from autoaccel.core.resources import Resources
from autoaccel.core.trial import TrialRequest
from autoaccel.execution.base import Executor
from autoaccel.execution.executors import DEFAULT, find_executor
from autoaccel.training.data.discovery import load_target, resolve

EXAMPLES = Path(__file__).parents[1] / "examples"
ROWS, COLUMNS, SAMPLES, BATCH = 1_000_000, 20, 18_000, 64
MARKS = "TRIAL_START_MARKS"
"""Environment variable with the file that a trial writes to: an `r` for each read, and when the model trains."""
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


def _mark(text: str) -> None:
    with Path(os.environ[MARKS]).open("a") as file:
        file.write(text)


class Marked(nn.Module):
    """Writes the time at which it first trains."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self._marked = False

    def forward(self, x: Tensor) -> Tensor:
        """Run the model; FLOPs are counted on a copy without data, whose forward is not that of a step."""
        if self.training and x.device.type != "meta" and not self._marked:
            self._marked = True
            _mark(f" {time.monotonic()} ")
        return self.model(x)


class Rows(Dataset[tuple[Tensor, int]]):
    """Samples that are read one by one, and counted."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        _mark("r")
        return torch.full((COLUMNS,), float(index)), index % 10


def _rows(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.standard_normal((ROWS, COLUMNS)).astype(dtype), generator.integers(0, 10, ROWS)


def _task(train: object, valid: object = None) -> Task:
    net = partial(nn.Sequential, nn.Linear(COLUMNS, 64), nn.ReLU(), nn.Linear(64, 10))
    return Task(model=lambda: Marked(net()), train=train, valid=valid)


def _divided(data: Dataset) -> Task:
    return _task(*random_split(data, [0.9, 0.1], torch.Generator().manual_seed(0)))


def _weighted() -> DataLoader:
    data = TensorDataset(*map(torch.from_numpy, _rows("float32")))
    return DataLoader(data, BATCH, sampler=WeightedRandomSampler(torch.rand(ROWS), ROWS))


LARGE: dict[str, Callable[[], Task]] = {
    "arrays": lambda: _task(_rows("float32")),
    "arrays_in_float64": lambda: _task(_rows("float64")),
    "divided_tensors": lambda: _divided(TensorDataset(*map(torch.from_numpy, _rows("float32")))),
    "weighted_loader": lambda: _task(_weighted()),
    "divided_dataset": lambda: _divided(Rows()),
}
arrays, arrays_in_float64, divided_tensors, weighted_loader, divided_dataset = LARGE.values()


def example(name: str) -> Task:
    """Return an example's task with a model that writes when it trains."""
    task = resolve(load_target(str(EXAMPLES / f"{name}.py")))
    made = task.model
    object.__setattr__(task, "model", lambda **parameters: Marked(made(**parameters)))
    return task


def digits() -> Task:
    """Return the digits."""
    return example("digits")


def shakespeare() -> Task:
    """Return the text."""
    return example("shakespeare")


def run(executor: Executor, trials: range) -> None:
    """Start trials of one step, and wait until all have ended."""
    for trial in trials:
        executor.start(TrialRequest(trial, PLAIN["plain"], Budget(steps=1), valid_samples=64))
    left = len(trials)
    while left:
        for event in executor.poll(10.0):
            if isinstance(event, Finished):
                left -= 1
                if (outcome := event.outcome).kind.value != "complete":
                    raise SystemExit(f"{outcome.reason} {outcome.where}")


def warm(task: str, trials: int, name: str) -> tuple[list[float], int, float]:
    """Return the seconds to the first step of each trial, the samples read for it, and trials a second."""
    clock, seconds, read = SystemClock(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        os.environ[MARKS] = str(marks)
        with closing(find_executor(name)(f"{__file__}:{task}", Resources(), clock, Path(folder))) as executor:
            executor.load(None)
            executor.profile(None)
            for trial in range(trials):
                marks.write_text("")
                asked = time.monotonic()
                run(executor, range(trial, trial + 1))
                reads, first, *_ = marks.read_text().split(" ")
                seconds.append(float(first) - asked)
                read = max(read, len(reads))
            begun = time.monotonic()
            run(executor, range(trials, 2 * trials))
            rate = trials / (time.monotonic() - begun)
    return seconds, read, rate


def fresh(task: str, trials: int) -> list[float]:
    """Return the seconds to a training that is ready for its first step, with a new interpreter per trial."""
    seconds = []
    for _ in range(trials):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-c", FRESH, str(EXAMPLES / f"{task}.py")], check=True, capture_output=True)
        seconds.append(time.perf_counter() - before)
    return seconds


def show(name: str, seconds: list[float], more: str = "") -> None:
    """Print a line of the table."""
    low, _, high = quantiles(seconds, n=4)
    print(f"{name:32} {median(seconds):6.3f} s  (quartiles {low:.3f} to {high:.3f}, {len(seconds)} trials){more}")


def main() -> None:
    """Print the median and the quartiles of each kind of start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("digits", "shakespeare", "large"))
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--executor", default=DEFAULT, help="local, or ray on one machine")
    given = parser.parse_args()
    for task in LARGE if given.task == "large" else (given.task,):
        seconds, read, rate = warm(task, given.trials, given.executor)
        samples = f", {read} samples read for a batch of {BATCH}" if task == "divided_dataset" else ""
        show(task, seconds, f", {rate:.2f} trials a second{samples}")
    if given.task != "large" and given.executor == DEFAULT:
        show(f"{given.task}, fresh process", fresh(given.task, 5))


if __name__ == "__main__":
    main()
