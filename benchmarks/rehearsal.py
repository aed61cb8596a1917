"""Measure what the rehearsal costs, alone and as a share of a budget of a minute.

    python benchmarks/rehearsal.py

The rehearsal is what the profile does before it measures: understanding the data, a training step on a few samples,
an evaluation, and saving, loading and scoring again. Each row is the median of several runs in processes that are
forked from one that has imported everything, as in a run. The last column is the plain recipe's first step.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from autoaccel import Task
from autoaccel.core.clock import SystemClock
from autoaccel.core.recipe import PLAIN
from autoaccel.execution.local.fork_server import _preload
from autoaccel.techniques.registry import build
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.data.discovery import load_target, resolve
from autoaccel.training.data.opening import open_task
from autoaccel.training.loop import Step
from autoaccel.training.rehearsal import rehearse_delivery, rehearse_training

BUDGET = 60.0
WORDS, TOKENS, WIDTH, BLOCKS = 256, 128, 512, 16


class Transformer(nn.Module):
    """A language model of 50 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Embedding(TOKENS, WIDTH)
        block = nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, BLOCKS, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next token at each position."""
        count = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(count, device=tokens.device)
        x = self.words(tokens) + self.places(torch.arange(count, device=tokens.device))
        return self.head(self.blocks(x, mask, is_causal=True))


def digits() -> Task:
    """Return the digits."""
    return resolve(load_target(str(Path(__file__).parents[1] / "examples" / "digits.py")))


def transformer() -> Task:
    """Return random text for the large model."""
    text = torch.randint(WORDS, (1000, TOKENS + 1), generator=torch.Generator().manual_seed(0))
    return Task(Transformer, (text[:, :-1], text[:, 1:]), loss="cross_entropy")


def timed(task: Task, threads: int, answers: "multiprocessing.Queue[list[float]]") -> None:
    """Send the seconds of each part of the rehearsal, and those of a step."""
    torch.set_num_threads(threads)
    clock = SystemClock()
    times = [clock.now()]
    context = assemble(task, build(PLAIN["plain"].chosen()), {}, 0, 0, clock, clock.now())
    times.append(clock.now())
    rehearse_training(task, context)
    times.append(clock.now())
    rehearse_delivery(task, context)
    times.append(clock.now())
    context = assemble(task, build(PLAIN["plain"].chosen()), {}, 0, 0, clock, clock.now())
    batch, begun = next(iter(BatchSampler(context, 0))), clock.now()
    Step(context)(batch)
    answers.put([*(end - start for start, end in pairwise(times)), clock.now() - begun])


def measured(make: Callable[[], Task], rounds: int, threads: int) -> list[float]:
    """Return the median seconds of each part."""
    task = make()
    open_task(task)
    fork, taken = multiprocessing.get_context("fork"), []
    for _ in range(rounds):
        answers = fork.Queue()
        process = fork.Process(target=timed, args=(task, threads, answers))
        process.start()
        taken.append(answers.get())
        process.join()
    return [median(column) for column in zip(*taken, strict=True)]


def main() -> None:
    """Print a row for each task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds, threads = parser.parse_args().rounds, torch.get_num_threads()
    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    _preload()
    print("| task | understanding | step and evaluation | save, load, score | all | of a minute | a plain step |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for make in (digits, transformer):
        *parts, step = measured(make, rounds, threads)
        seconds = [f"{each:.2f} s" for each in (*parts, sum(parts))]
        print("|", " | ".join([make.__name__, *seconds, f"{sum(parts) / BUDGET:.1%}", f"{step:.2f} s"]), "|")


if __name__ == "__main__":
    main()
