"""Compare local SGD with shared gradients on scikit-learn's digits, in 2 and 4 processes and at equal steps.

    python -m benchmarks.techniques.local_sgd

Each recipe is trained with the same seeds. The table has the median and the range of the test set's accuracy and
loss, in how many seeds the loss is lower than with shared gradients, and the bytes that each process reduces and
broadcasts over a training, relative to shared gradients. Links between processes of one machine are fast, so no
seconds are compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from sklearn.datasets import load_digits
from torch import distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from autoaccel import Task
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.techniques.registry import build
from autoaccel.training.build import assemble
from autoaccel.training.evaluate import evaluate
from autoaccel.training.loop import Milestones, train
from autoaccel.training.meters.progress import Progress

SENT: list[int] = []
"""Bytes of each tensor that was reduced or broadcast."""
PROCESSES, SEEDS, STEPS, BATCH = (2, 4), 6, 200, 128
RECIPES = {
    "shared gradients": {},
    "every 0.01 after 0.25": {"local_sgd": {"every": 0.01, "after": 0.25}},
    "every 0.05 after 0": {"local_sgd": {"every": 0.05, "after": 0.0}},
    "every 0.05 after 0.5": {"local_sgd": {"every": 0.05, "after": 0.5}},
}


def dense() -> nn.Module:
    """Return a multi-layer perceptron."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def normed() -> nn.Module:
    """Return a small convolutional net with BatchNorm."""
    first = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(128, 10))


NETS = {"perceptron": dense, "BatchNorm": normed}


def digits(net: str, seed: int) -> Task:
    """Return the task of digits, shuffled: 1,000 images to train, 297 to validate, 500 to test."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(seed))
    x = torch.tensor(data.images, dtype=torch.float32)[order, None] / 16
    y = torch.tensor(data.target)[order]
    valid, test = slice(1000, 1297), slice(1297, None)
    return Task(NETS[net], (x[:1000], y[:1000]), (x[valid], y[valid]), (x[test], y[test]), metric="accuracy")


def trained(net: str, recipe: str, seed: int, lr: float) -> dict[str, float]:
    """Train, and return the test set's accuracy and loss, and the bytes that travelled."""
    AcceleratorState._reset_state()
    batches, optimizer = Choice("constant_batch", {"size": BATCH}), Choice("adamw", {"lr": lr})
    chosen = Recipe(optimizer=optimizer, batch_size=batches, techniques=RECIPES[recipe])
    task, techniques = digits(net, seed), build(chosen.chosen())
    context = assemble(task, techniques, {}, seed, 0, SimulatedClock(), 0.0, cpu=True)
    progress = Progress(Budget(steps=STEPS), context.meter.spent(), Cost(), 2, Cost())
    # By itself the wrapper averages gradients where Python does not see it.
    context.network.register_comm_hook(None, allreduce_hook)
    before = sum(SENT)
    train(context, progress, Milestones((0.5, 1.0), 0, lambda *_: True), seed)
    sent, found = sum(SENT) - before, evaluate(context, context.data.test)
    return {"accuracy": found.metric, "loss": found.loss, "bytes": sent}


def counted(send: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that sends a tensor and notes its bytes."""

    def call(tensor: torch.Tensor, *given: Any, **named: Any) -> Any:
        SENT.append(tensor.nbytes)
        return send(tensor, *given, **named)

    return call


def work(path: Path, lr: float) -> None:
    """Train all in this process and its likes, and write what came of it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("all_reduce", "broadcast"):
        setattr(distributed, name, counted(getattr(distributed, name)))
    state = PartialState(cpu=True)
    found = {
        net: {recipe: [trained(net, recipe, seed, lr) for seed in range(SEEDS)] for recipe in RECIPES}
        for net in NETS
    }
    if state.is_main_process:
        path.write_text(json.dumps(found))
    state.wait_for_everyone()
    distributed.destroy_process_group()


def spread(values: list[float]) -> str:
    """Return the median and the range."""
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Train in each number of processes, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lr", type=float, default=5e-3, help="learning rate of AdamW at its peak")
    parser.add_argument("--out", type=Path, help="where one of several processes writes what it found")
    given = parser.parse_args()
    if given.out is not None:
        work(given.out, given.lr)
    else:
        compare(given.lr)


def compare(lr: float) -> None:
    """Launch the processes, and print the table."""
    print("| net | processes | | accuracy | loss | lower in | bytes |", "| --- " * 7 + "|", sep="\n", flush=True)
    for processes in PROCESSES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "found.json"
            launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
            own = ["benchmarks.techniques.local_sgd", "--out", str(path), "--lr", str(lr)]
            command = [sys.executable, "-m", *launch, *own]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            found = json.loads(path.read_text())
        for net, recipes in found.items():
            shared = recipes["shared gradients"]
            for recipe, runs in recipes.items():
                values = {key: [run[key] for run in runs] for key in runs[0]}
                lower = sum(run["loss"] < other["loss"] for run, other in zip(runs, shared, strict=True))
                share = runs[0]["bytes"] / shared[0]["bytes"]
                columns = [net, processes, recipe, spread(values["accuracy"]), spread(values["loss"])]
                row = " | ".join(map(str, [*columns, f"{lower} of {len(runs)}", f"x {share:.2f}"]))
                print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
