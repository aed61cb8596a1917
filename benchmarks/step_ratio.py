"""Compare a step of the trainer with two hand-written Accelerate loops that do the same work.

    python benchmarks/step_ratio.py digits
    python benchmarks/step_ratio.py images
    python benchmarks/step_ratio.py shakespeare

All three train the same net with AdamW, a linear learning rate and batches of 64: the trainer with the technique
`device_data`, one loop over batches indexed from tensors on the device, and the loop that most people write, over
a shuffling DataLoader. Blocks of steps alternate, so that all run under the same conditions; a ratio is the median
over the rounds of blocks.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.techniques.registry import build
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.data.discovery import load_target, resolve
from autoaccel.training.loop import Step
from autoaccel.training.meters.progress import Progress

EXAMPLES = Path(__file__).parents[1] / "examples"
BATCH = 64


def hand_written(task, steps: int, loader: bool) -> Iterator[Callable[[], None]]:
    """Yield the steps of a loop as a user writes it: over a DataLoader, or over indexed tensors."""
    accelerator = Accelerator()
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    model, optimizer = accelerator.prepare(model, optimizer)
    x, y = (torch.as_tensor(part) for part in task.train)
    count = int(0.8 * len(x))
    data = DataLoader(TensorDataset(x[:count], y[:count]), BATCH, shuffle=True, drop_last=True)
    batches = _loaded(accelerator.prepare(data)) if loader else _indexed(x, y, count, accelerator.device)
    model.train()

    def step() -> None:
        inputs, targets = next(batches)
        output = model(inputs)
        loss = F.cross_entropy(output.flatten(0, -2), targets.flatten())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()

    while True:
        yield step


def _indexed(x: Tensor, y: Tensor, count: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = x.to(device), y.to(device)
    while True:
        for index in torch.randperm(count, device=device)[: count // BATCH * BATCH].split(BATCH):
            yield x[index], y[index]


def _loaded(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


def trainer(task, steps: int) -> Iterator[Callable[[], None]]:
    """Yield the steps of a trial between two evaluations, including progress and batch selection."""
    clock = SystemClock()
    recipe = replace(PLAIN["plain"], techniques={"device_data": {}})
    context = assemble(task, build(recipe.chosen()), {}, 0, 0, clock, clock.now())
    take, batches = Step(context), iter(BatchSampler(context, 0))
    progress = Progress(Budget(steps=steps), context.meter.spent(), Cost(), 1, Cost())
    context.model.train()

    def step() -> None:
        context.p = progress.read(context.meter.spent())
        take(next(batches))

    while True:
        yield step


def block(steps: Iterator[Callable[[], None]], count: int) -> float:
    """Return the seconds of `count` steps."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    before = time.perf_counter()
    for _ in range(count):
        next(steps)()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - before


def main() -> None:
    """Print the median ratios and their quartiles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--steps", type=int, default=15)
    given = parser.parse_args()
    task = resolve(load_target(str(EXAMPLES / f"{given.task}.py")))
    total = (given.blocks + 2) * given.steps
    loops = {
        "trainer": trainer(task, total),
        "indexed": hand_written(task, total, loader=False),
        "loader": hand_written(task, total, loader=True),
    }
    for steps in loops.values():
        block(steps, given.steps)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(given.blocks):
        names = list(loops)
        for name in names[turn % 3 :] + names[: turn % 3]:
            seconds[name].append(block(loops[name], given.steps))
    for name, text in (("indexed", "a loop over indexed tensors"), ("loader", "a loop over a DataLoader")):
        ratios = [ours / theirs for ours, theirs in zip(seconds["trainer"], seconds[name], strict=True)]
        low, _, high = quantiles(ratios, n=4)
        step = 1e3 * median(seconds[name]) / given.steps
        print(
            f"{given.task}: trainer / {text} = {median(ratios):.3f} (quartiles {low:.3f} to {high:.3f}); "
            f"its step takes {step:.2f} ms"
        )


if __name__ == "__main__":
    main()
