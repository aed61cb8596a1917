"""Compare a step of a structurally pruned net with a step of the whole net, in seconds and FLOPs.

    python benchmarks/pruned_step.py images --ratio 0.5

Blocks of steps alternate, so that both run under the same conditions; the ratio is the median over the rounds.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from statistics import median, quantiles

from step_ratio import EXAMPLES, block

from autoaccel.core.clock import SystemClock
from autoaccel.core.recipe import PLAIN
from autoaccel.techniques.registry import build
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.discovery import load_target, resolve
from autoaccel.training.loop import Step


def training(task, techniques) -> tuple[TrainingContext, Iterator]:
    """Return the context and the steps of a plain training with some techniques."""
    clock = SystemClock()
    recipe = replace(PLAIN["plain"], techniques=techniques)
    context = assemble(task, build(recipe.chosen()), {}, 0, 0, clock, clock.now())
    take, batches = Step(context), iter(BatchSampler(context, 0))
    context.model.train()

    def steps() -> Iterator:
        while True:
            yield lambda: take(next(batches))

    return context, steps()


def main() -> None:
    """Print the ratios of seconds and FLOPs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    task = resolve(load_target(str(EXAMPLES / f"{given.task}.py")))
    pruning = {"ratio": given.ratio, "at": 0.3, "multiple": 4}
    runs = {"whole": training(task, {}), "pruned": training(task, {"structured_pruning": pruning})}
    for context, steps in runs.values():
        context.p = 0.3
        block(steps, given.steps)  # the first of these steps prunes
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    flops = {}
    for name, (context, _) in runs.items():
        flops[name] = -context.meter.spent().flops
    for turn in range(given.blocks):
        for name in list(runs)[:: 1 if turn % 2 else -1]:
            seconds[name].append(block(runs[name][1], given.steps))
    for name, (context, _) in runs.items():
        flops[name] += context.meter.spent().flops
    ratios = [pruned / whole for pruned, whole in zip(seconds["pruned"], seconds["whole"], strict=True)]
    low, _, high = quantiles(ratios, n=4)
    print(f"{given.task}, {given.ratio:.0%} of the channels cut at 30 % of the budget: a step takes")
    print(f"    {median(ratios):.3f} of the seconds (quartiles {low:.3f} to {high:.3f})")
    print(f"    {flops['pruned'] / flops['whole']:.3f} of the FLOPs")


if __name__ == "__main__":
    main()
