"""The tasks of the comparison: small models, so that a minute of one core is a budget that shows overfitting.

`own-images` and `own-table` have hyperparameters of the user's model and a search space without known-good recipes.
The environment variable AUTOACCEL_DATA names the folder with the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn

from autoaccel import Budget, Task, train
from benchmarks.search import record_tasks
from benchmarks.techniques.nets import conv_net, dense_net

OWN = str(Path(__file__).with_name("own.yaml"))
ROWS = 12_000
"""Rows of the table, few enough for long trainings to overfit."""
CLOTHES = 4
"""Passes over images of clothes that pretrain the net of `finetune`."""


@dataclass(frozen=True)
class Compared:
    """A task of the comparison.

    Args:
        make: Builds the task; gets the folder where pretrained weights are kept.
        space: The search space.
    """

    make: Callable[[Path], Task]
    space: str


def table(kept: Path, own: bool = False) -> Task:
    """Whether a bank's customer subscribes: 12,000 rows, on which a long training overfits."""
    task = record_tasks.bank()
    x, y = task.train
    model = partial(dropped, dense_net, x.shape[1], 2, 64, 2)
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:ROWS]
    space = {"width": [32, 64, 128], "depth": (1, 4), "dropout": (0.0, 0.5)}

    def net(width: int = 64, depth: int = 2, dropout: float = 0.0) -> nn.Module:
        return dropped(dense_net, x.shape[1], 2, width, depth, dropout)

    data = {"train": (x[chosen], y[chosen]), "test": task.test, "metric": "loss"}
    return Task(model=net, space=space, **data) if own else Task(model=model, **data)


def own_images(kept: Path) -> Task:
    """Fashion-MNIST with a user's net, of which width, depth and dropout are searched."""
    task = record_tasks.fashion()

    def net(width: int = 8, depth: int = 2, dropout: float = 0.0) -> nn.Module:
        return dropped(conv_net, 1, 10, width, depth, dropout)

    space = {"width": [4, 8, 12, 16], "depth": (1, 3), "dropout": (0.0, 0.5)}
    return Task(model=net, train=task.train, test=task.test, metric="accuracy", flips=True, space=space)


def dropped(
    make: Callable[..., nn.Module], inputs: int, outputs: int, width: int, depth: int, dropout: float = 0.0
) -> nn.Module:
    """Return a net with a rate of dropout."""
    net = make(inputs, outputs, width, depth)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return net


def finetune(kept: Path) -> Task:
    """A net pretrained on clothes learns digits from 300 examples, enlarged to the size of the clothes."""
    weights = pretrained(kept)

    def net() -> nn.Module:
        model = conv_net(1, 10, 8, 2)
        last = next(name for name, _ in reversed(list(model.named_children())))
        found = {k: v for k, v in load_file(weights).items() if not k.startswith(f"{last}.")}
        model.load_state_dict(found, strict=False)
        return model

    images, y = load_digits(return_X_y=True)
    x = torch.as_tensor(images).float().view(-1, 1, 8, 8)
    x, y = F.interpolate((x - x.mean()) / x.std(), (14, 14), mode="bilinear"), torch.as_tensor(y)
    parts = {"train": (0, 300), "valid": (300, 800), "test": (800, 1797)}
    return Task(model=net, metric="accuracy", **{name: (x[a:b], y[a:b]) for name, (a, b) in parts.items()})


def pretrained(kept: Path) -> Path:
    """Return the weights of a net for clothes, which are trained if they are not kept yet."""
    folder = kept / "clothes"
    weights = folder / "model.safetensors"
    if not weights.exists():
        train(record_tasks.fashion(), "plain", Budget(epochs=CLOTHES), out=folder, quiet=True)
    return weights


def recorded(name: str) -> Compared:
    """Return one of the tasks that trainings are recorded of."""
    found = record_tasks.TASKS[name]
    return Compared(lambda kept: found.make(), found.space)


TASKS: Mapping[str, Compared] = {
    "digits": recorded("digits"),
    "images": recorded("fashion"),
    "shakespeare": recorded("shakespeare"),
    "table": Compared(table, "tabular"),
    "finetune": Compared(finetune, "finetune"),
    "own-images": Compared(own_images, OWN),
    "own-table": Compared(partial(table, own=True), OWN),
}
