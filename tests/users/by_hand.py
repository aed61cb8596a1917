"""A training loop as a user would write it by hand. It uses nothing of autoaccel.

With AdamW at 1e-3, a weight decay of 0.01 on all parameters, a constant rate and batches of 64 it is what the recipe
`plain_constant` stands for: equal seeds and steps must give equal losses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset, default_collate

STEPS = 20
SIZE = 64


def inputs_and_targets(model, batch):
    """Run a model on the usual batch: (inputs, targets)."""
    x, y = batch
    return model(x), y


def labels_inside(model, batch):
    """Run a model that computes its own loss from the labels of the batch."""
    return model(**batch), batch["labels"]


def as_it_is(batch):
    """Return the batch."""
    return batch


@dataclass(frozen=True)
class Right:
    """What is right for one model file.

    Args:
        loss: `(output, target) -> Tensor`, the mean over what counts, of a batch or of the whole set.
        metric: `(target, output) -> float` on the whole validation set; None for the loss.
        facts: Patterns that are found in what `check` understood.
        run: `(model, batch) -> (output, target)`.
        batch: Changes a batch before it is used, such as a cast that the user would write.
        scaled: Whether training sees standardized targets, with the answer in the user's units all the same.
        tolerance: Largest relative difference of loss and metric.
        why: The reason for a tolerance above 1e-4.
        data: `(module, task) -> (train, valid)`, where they are not those of the task.
        batches: `(module, task) -> iterator of batches`, where they are not drawn at random from `train`.
        split: `(module, task) -> (training indices, validation indices)`, where `valid` does not say it.
        plain_file: Whether torch's own strict loading takes the weights file.
    """

    loss: Callable[[Any, Any], Tensor]
    metric: Callable[[Any, Any], float] | None = None
    facts: tuple[str, ...] = ()
    run: Callable[[nn.Module, Any], tuple[Any, Any]] = inputs_and_targets
    batch: Callable[[Any], Any] = as_it_is
    scaled: bool = False
    tolerance: float = 1e-4
    why: str = ""
    data: Callable[[Any, Any], tuple[Any, Any]] | None = None
    batches: Callable[[Any, Any], Iterator[Any]] | None = None
    split: Callable[[Any, Any], tuple[Any, Any]] | None = None
    plain_file: bool = True


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of the training targets."""

    mean: Tensor | float = 0.0
    std: Tensor | float = 1.0


def count(data: Any) -> int:
    """Return the number of samples."""
    if isinstance(data, DataLoader):
        return len(data.dataset)
    return count(data[0]) if isinstance(data, tuple) else len(data)


def fetch(data: Any, index: Tensor, collate: Callable[..., Any] | None = None) -> Any:
    """Return the batch of the samples at `index`."""
    if isinstance(data, DataLoader):
        return fetch(data.dataset, index, data.collate_fn)
    if isinstance(data, tuple):
        return tuple(fetch(part, index) for part in data)
    if hasattr(data, "to_numpy"):
        data = data.to_numpy()
    if isinstance(data, Dataset | list):
        return (collate or default_collate)([data[i] for i in index.tolist()])
    rows = data[index if isinstance(data, Tensor) else index.numpy()]
    return rows if rows.dtype == object else torch.as_tensor(rows)


def random_batches(data: Any, kept: Tensor, seed: int, collate: Any = None) -> Iterator[Any]:
    """Yield batches of the samples `kept` forever: each pass has its own order and drops its short last batch."""
    order = torch.Generator().manual_seed(seed)
    while True:
        positions = torch.randperm(len(kept), generator=order)
        for part in positions.split(SIZE)[: len(positions) // SIZE]:
            yield fetch(data, kept[part], collate)


def make(right: Right, build: Callable[[], nn.Module], example: Any, seed: int) -> nn.Module:
    """Build a model; lazy layers get their shape from a batch, without a trace in the random numbers."""
    set_seed(seed)
    model = build()
    if any(is_lazy(p) for p in model.parameters()):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            right.run(model.eval(), example)
    return model


def train(right: Right, model: nn.Module, batches: Iterator[Any], scale: Scale, steps: int = STEPS) -> nn.Module:
    """Train a model in place."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    model.train()
    for batch in islice(batches, steps):
        output, target = right.run(model, right.batch(batch))
        loss = right.loss(output, (target - scale.mean) / scale.std if right.scaled else target)
        optimizer.zero_grad()
        loss.backward()
        for p in model.parameters():
            if p.grad is not None and p.grad.is_sparse:  # AdamW takes none
                p.grad = p.grad.to_dense()
        optimizer.step()
    return model


def evaluate(right: Right, model: nn.Module, batch: Any, scale: Scale | None = None) -> tuple[float, float]:
    """Return the loss and the metric on a whole set, computed at once.

    Args:
        right: What is right for the file.
        model: A trained model.
        batch: The whole set.
        scale: How the targets were scaled in training, if the model answers in that scale.
    """
    model.eval()
    with torch.no_grad():
        output, target = right.run(model, right.batch(batch))
    if scale is not None and right.scaled:
        output = output * scale.std + scale.mean
    loss = float(right.loss(output, target))
    return loss, loss if right.metric is None else float(right.metric(target, output))


@dataclass(frozen=True)
class Given:
    """What a hand-written training and its evaluation are given: indices of `train`, and the whole of `valid`."""

    train: Any
    kept: Tensor
    valid: Any

    @classmethod
    def of(cls, right: Right, module: Any, task: Any) -> "Given":
        """Return the data of a model file."""
        train, valid = right.data(module, task) if right.data else (task.train, task.valid)
        if right.split is not None:
            kept, held = (torch.as_tensor(part) for part in right.split(module, task))
            return cls(train, kept, fetch(train, held, task.collate))
        held = fetch(valid, torch.arange(count(valid)), task.collate)
        return cls(train, torch.arange(0 if right.batches else count(train)), held)


def scale_of(right: Right, given: Given, collate: Any) -> Scale:
    """Return the scale of the training targets; a constant column is only centered."""
    if not right.scaled:
        return Scale()
    _, targets = right.batch(fetch(given.train, given.kept, collate))
    mean, std = targets.mean(0), targets.std(0)
    return Scale(mean, torch.where(std > 1e-6 * mean.abs(), std, torch.ones_like(std)))


def by_hand(right: Right, module: Any, task: Any, seed: int = 0, steps: int = STEPS) -> tuple[float, float, float]:
    """Return the loss before training, and the loss and the metric after it, all on the validation set."""
    given = Given.of(right, module, task)
    scale = scale_of(right, given, task.collate)
    example = right.batch(given.valid)
    before, _ = evaluate(right, make(right, task.model, example, seed), given.valid, scale)
    batches = (
        right.batches(module, task)
        if right.batches
        else random_batches(given.train, given.kept, seed, task.collate)
    )
    # Made anew, since the evaluation may have drawn random numbers.
    model = train(right, make(right, task.model, example, seed), batches, scale, steps)
    return before, *evaluate(right, model, given.valid, scale)
