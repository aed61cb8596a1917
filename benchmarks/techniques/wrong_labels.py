"""Test learnability selection by a small proxy net, cost included, on clean data and with 20 % wrong labels.

    python benchmarks/techniques/wrong_labels.py --seeds 5

The setting follows 'Bad Students Make Great Teachers' (arXiv 2312.05328): does a small net that is trained
alongside choose better samples than chance if its own cost is included?
"""

from dataclasses import replace

import torch
from experiment import Experiment, arguments, with_techniques
from tasks import image as clean

from autoaccel import Task
from autoaccel.core.budget import Budget

WRONG = 0.2


def spoiled(task: Task) -> Task:
    """Replace a share of the training labels by wrong ones; validation and test labels stay correct."""
    x, y = task.train
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(y), generator=generator) < WRONG
    other = (y + torch.randint(1, 10, y.shape, generator=generator)) % 10
    held = len(y) * 4 // 5
    return replace(
        task, train=(x[:held], torch.where(wrong, other, y)[:held]), valid=(x[held:], y[held:]), test=task.test
    )


wrong = spoiled(clean)
RECIPES = {
    "learnability by a proxy": with_techniques(proxy_learnability={}),
    "selective_backprop": with_techniques(selective_backprop={}),
}


def main() -> None:
    """Train the recipes and print the tables."""
    given = arguments(__doc__.splitlines()[0])
    budgets = [Budget(flops=given.scale * 6.6e11), Budget(seconds=given.scale * 6.0)]
    experiment = Experiment(__file__, "wrong-labels", {"clean": 1, "wrong": 1}, RECIPES)
    experiment.run({"clean": budgets, "wrong": budgets}, given.seeds)


if __name__ == "__main__":
    main()
