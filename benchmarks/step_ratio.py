"""A step of the trainer against a hand-written Accelerate loop that does the same work.

    python benchmarks/step_ratio.py digits
    python benchmarks/step_ratio.py shakespeare

Both train the same net with AdamW, a linear learning rate and batches of 64 indexed from tensors in memory. Blocks
of steps alternate, so that both see the same machine; the ratio is that of the medians of each pair of blocks.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles

import torch
import torch.nn.functional as F
from accelerate import Accelerator

from autoaccel.clock import SystemClock
from autoaccel.recipe import PLAIN
from autoaccel.techniques.registry import build
from autoaccel.training.assemble import assemble
from autoaccel.training.batches import Passes
from autoaccel.training.discovery import load_target, resolve
from autoaccel.training.loop import Step
from autoaccel.training.progress import Progress

EXAMPLES = Path(__file__).parents[1] / "examples"
BATCH = 64


def hand_written(task, steps: int) -> Iterator[Callable[[], None]]:
    """The loop that a careful user writes: a step at each call."""
    accelerator = Accelerator()
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    model, optimizer = accelerator.prepare(model, optimizer)
    x, y = (torch.as_tensor(part).to(accelerator.device) for part in task.train)
    count = int(0.8 * len(x))
    model.train()
    while True:
        for index in torch.randperm(count)[: count // BATCH * BATCH].split(BATCH):

            def step(index: torch.Tensor = index) -> None:
                output = model(x[index])
                loss = F.cross_entropy(output.flatten(0, -2), y[index].flatten())
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()

            yield step


def trainer(task, steps: int) -> Iterator[Callable[[], None]]:
    """What a trial does between two evaluations, progress and selection of batches included."""
    clock = SystemClock()
    context = assemble(task, build(PLAIN["plain"].chosen()), {}, 0, 0, clock, clock.now())
    take, batches = Step(context), iter(Passes(context, 0))
    from autoaccel.budget import Budget, Cost

    progress = Progress(Budget(steps=steps), context.meter.spent(), Cost(), 1, Cost())
    context.model.train()

    def step() -> None:
        context.p = progress.read(context.meter.spent())
        take(next(batches))

    while True:
        yield step


def block(steps: Iterator[Callable[[], None]], count: int) -> float:
    """Seconds of some steps."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    before = time.perf_counter()
    for _ in range(count):
        next(steps)()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - before


def main() -> None:
    """Print the median ratio and its spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--steps", type=int, default=15)
    given = parser.parse_args()
    task = resolve(load_target(str(EXAMPLES / f"{given.task}.py")))
    total = (given.blocks + 2) * given.steps
    ours, theirs = trainer(task, total), hand_written(task, total)
    for steps in (ours, theirs):
        block(steps, given.steps)
    ratios, hand = [], []
    for turn in range(given.blocks):
        order = (ours, theirs) if turn % 2 else (theirs, ours)
        seconds = {id(steps): block(steps, given.steps) for steps in order}
        ratios.append(seconds[id(ours)] / seconds[id(theirs)])
        hand.append(seconds[id(theirs)] / given.steps)
    low, _, high = quantiles(ratios, n=4)
    print(
        f"{given.task}: trainer / hand-written = {median(ratios):.3f} (quartiles {low:.3f} to {high:.3f}); "
        f"a hand-written step takes {1e3 * median(hand):.2f} ms"
    )


if __name__ == "__main__":
    main()
