"""Measure what an evaluation costs beside the model's forward, against the same loss and metric computed by hand.

    python benchmarks/evaluation.py

By hand is one call of `torch.nn.functional` and the predictions for each batch, and one call of scikit-learn on all
of them. Both run over the same batches with the same model, which only returns its inputs; that run alone is taken
off both. Seconds are those of one thread on the processor, so that other processes disturb them less.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import sklearn.metrics
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoaccel import Task
from autoaccel.core.clock import SystemClock
from autoaccel.core.recipe import PLAIN
from autoaccel.techniques.registry import build
from autoaccel.training.build import assemble
from autoaccel.training.context import BATCH, TrainingContext
from autoaccel.training.evaluate import score


class Shown(nn.Module):
    """Returns the logits that are its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, and in training something with a gradient."""
        return x * self.scale if self.training else x


def matthews(targets: np.ndarray, predicted: np.ndarray) -> float:
    """Return Matthews' correlation, as a metric of the user's own."""
    return float(sklearn.metrics.matthews_corrcoef(targets, predicted))


class Case(NamedTuple):
    """An evaluation: its size, its metric, and how the metric is computed by hand from predictions."""

    rows: int
    classes: int
    metric: str | Callable[..., float]
    by_hand: Callable[[np.ndarray, np.ndarray], float]
    read: Callable[[Tensor], Tensor] = lambda logits: logits.argmax(1)


def _f1(targets: np.ndarray, predicted: np.ndarray) -> float:
    return float(sklearn.metrics.f1_score(targets, predicted, average="macro"))


def _one_against_rest(targets: np.ndarray, predicted: np.ndarray) -> float:
    return float(sklearn.metrics.roc_auc_score(targets, predicted, multi_class="ovr"))


def _binary(targets: np.ndarray, predicted: np.ndarray) -> float:
    return float(sklearn.metrics.roc_auc_score(targets, predicted[:, 1]))


def _softmax(logits: Tensor) -> Tensor:
    return torch.softmax(logits.double(), 1)


CASES = (
    Case(50_000, 1000, "accuracy", sklearn.metrics.accuracy_score),
    Case(50_000, 1000, "f1", _f1),
    Case(50_000, 1000, matthews, matthews),
    Case(50_000, 2, "roc_auc", _binary, _softmax),
    Case(20_000, 20, "roc_auc", _one_against_rest, _softmax),
)


def prepared(case: Case) -> TrainingContext:
    """Return a training whose validation data are logits, somewhat better than chance."""
    torch.manual_seed(0)
    logits, labels = torch.randn(case.rows, case.classes), torch.arange(case.rows) % case.classes
    logits[torch.arange(case.rows), labels] += 2.0
    direction = "max" if callable(case.metric) else None
    few = slice(max(1000, case.classes))
    task = Task(Shown, (logits[few], labels[few]), (logits, labels), metric=case.metric, direction=direction)
    clock = SystemClock()
    return assemble(task, build(PLAIN["plain"].chosen()), {}, 0, 0, clock, clock.now())


def bare(context: TrainingContext, use: Callable[[Tensor, Tensor], None] = lambda *_: None) -> None:
    """Run the model over the validation data, and hand each batch to `use`."""
    context.model.eval()
    with torch.inference_mode():
        for index in torch.arange(len(context.data.valid)).split(BATCH):
            batch = context.data.valid.take(index)
            use(context.run(batch[0].to(context.device)), batch[1].to(context.device))


def by_hand(context: TrainingContext, case: Case) -> tuple[float, float]:
    """Return the loss and the metric as a script computes them."""
    losses: list[Tensor] = []
    read: list[Tensor] = []
    targets: list[Tensor] = []

    def use(output: Tensor, y: Tensor) -> None:
        losses.append(F.cross_entropy(output, y, reduction="sum"))
        read.append(case.read(output))
        targets.append(y)

    bare(context, use)
    metric = case.by_hand(torch.cat(targets).cpu().numpy(), torch.cat(read).cpu().numpy())
    return float(torch.stack(losses).sum()) / case.rows, metric


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds of the processor that some work takes."""
    before = time.process_time()
    work()
    return time.process_time() - before


def compare(case: Case, rounds: int) -> None:
    """Print the line of a case."""
    context = prepared(case)
    valid = context.data.valid
    ours, hand = score(context, valid, error=False), by_hand(context, case)
    if not np.allclose((ours.loss, ours.metric), hand, rtol=1e-5):
        raise SystemExit(f"{case.metric}: {ours} differs from {hand}")
    works = (
        lambda: bare(context),
        lambda: by_hand(context, case),
        lambda: score(context, valid, error=False),
        lambda: score(context, valid),
    )
    taken = [[seconds(work) for work in works] for _ in range(rounds)]
    # The fastest of each, since other processes, which share the memory, only ever make a round slower.
    forward, manual, plain, error = (min(column) for column in zip(*taken, strict=True))
    ratio = (plain - forward) / (manual - forward)
    shown = [f"{each:.3f} s" for each in (forward, manual - forward, plain - forward)]
    name, size = context.data.metric.name, f"{case.rows:,} x {case.classes:,}"
    print("|", " | ".join([name, size, *shown, f"{ratio:.2f}", f"{error - forward:.3f} s"]), "|")


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print("| metric | logits | forward alone | by hand | evaluation | ratio | with a standard error |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        compare(case, rounds)


if __name__ == "__main__":
    main()
