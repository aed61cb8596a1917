"""What a technique may see and change of the training that it takes part in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Args:
        inputs: The model's inputs, batch dimension first: a tuple of arguments, a dict of keywords, or anything
            else as the only argument.
        targets: Targets, batch dimension first: a tensor, or what else the user's own loss takes.
        index: Index of each sample in the training set, shape [n].
        weight: Weight of each sample's loss, shape [n]; 1 on average over a pass.
        other: Second targets of mixed samples, or None.
        share: Share of `targets` in each mixed sample, shape [n], or None.
    """

    inputs: Any
    targets: Any
    index: Tensor
    weight: Tensor
    other: Any = None
    share: Tensor | None = None

    def replace(self, **changes: Any) -> Batch:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def part(self, indices: Tensor) -> Batch:
        """Return the samples at `indices`, shape [m].

        Raises:
            ValueError: If a part of the batch cannot be divided among its samples.
        """
        count = len(self.index)
        return Batch(*(rows_of(getattr(self, f.name), indices, count) for f in dataclasses.fields(self)))


def rows_of(data: Any, index: Tensor, count: int) -> Any:
    """Return some samples of a batch: rows of its tensors, and elements of lists with one element a sample.

    Args:
        data: A batch of `count` samples: tensors in nested tuples, lists and mappings.
        index: Indices of the samples, shape [m].
        count: Number of samples in the batch.

    Raises:
        ValueError: If a part of it has another number of rows, and so cannot be divided among the samples.
    """
    if isinstance(data, Tensor) and len(data.shape) and len(data) == count:
        return data[index.to(data.device)]
    if isinstance(data, list) and len(data) == count:
        return [data[i] for i in index.tolist()]
    if isinstance(data, Mapping):
        return {key: rows_of(part, index, count) for key, part in data.items()}
    if isinstance(data, tuple):
        return tuple(rows_of(part, index, count) for part in data)
    if data is None:
        return None
    what = f"a tensor of shape {tuple(data.shape)}" if isinstance(data, Tensor) else f"a {type(data).__name__}"
    raise ValueError(f"{what} in a batch of {count} samples cannot be divided among them")


class Context(Protocol):
    """The part of a training that techniques may read and change.

    Attributes:
        p: Progress in [0, 1]; constant within a step and equal on all ranks.
        model: The user's model, unwrapped.
        optimizer: The optimizer, set by the optimizer component during `setup`.
        device: The model's device.
        kind: Kind of input: image, tokens, table or series.
        classes: Number of classes; 0 for other targets.
        class_axis: Dimension of the output that holds the classes, where the loss is one of classes.
        ignored: Label that does not count in such a loss.
        batch_size: Samples per optimizer step over all ranks; may be changed between steps.
        micro_batch: Largest number of samples computed at once; 0 for the whole batch.
        lr_factor: Factor on every learning rate, for scaling it with the batch size.
        mixed_precision: `no`, `bf16` or `fp16`; read after `setup`.
        sample_loss: Latest task loss of each training sample, shape [n_train]; NaN for samples not seen yet. The
            loop records it only if a technique overrides `select`, and only for samples that are not mixed.
        generator: Random generator on `device`, seeded per trial and rank.
        shared: Random generator on the CPU with the same state on all ranks.
        variants: What the cost of a forward depends on besides shapes, such as the number of skipped blocks, keyed
            by the name of the technique that sets it.
        seen: Number of training samples drawn by all ranks together.
        alone: Whether each of several ranks takes steps with the gradient of its own share of the batch.
    """

    p: float
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    kind: str
    classes: int
    class_axis: int
    ignored: int
    batch_size: int
    micro_batch: int
    lr_factor: float
    mixed_precision: str
    sample_loss: Tensor
    generator: torch.Generator
    shared: torch.Generator
    variants: dict[str, Hashable]
    seen: int
    alone: bool

    def forward(self, inputs: Any, model: nn.Module | None = None) -> Any:
        """Run the model under autocast and the caller's grad mode, book the cost, return what the loss gets of it.

        Args:
            inputs: The model's inputs.
            model: Another model on the same device to run instead, such as a teacher.
        """
        ...

    def per_sample(self, output: Any, targets: Any) -> Tensor:
        """Return the task loss of each sample, shape [n]."""
        ...

    def of_samples(self, each: Tensor, targets: Any) -> Tensor:
        """Return the mean over the labels of each sample, weighted as in the task's loss, shape [n]."""
        ...

    def recompute_gradients(self) -> None:
        """Zero the gradients and recompute those of the current step's batch."""
        ...

    def part(self) -> None:
        """Let each of several ranks take the next step alone; from then on `alone` is set.

        Call it before the gradient of each such step is computed, on all ranks. There is no way back.
        """
        ...

    def meet(self) -> None:
        """Average weights and statistics over ranks that have trained alone; all of them must call this."""
        ...

    def swap(self, match: Callable[[nn.Module], bool], make: Callable[[nn.Module], nn.Module]) -> int:
        """Replace every child module that matches, rebuild if any did, and return how many were replaced."""
        ...

    def rebuild(self) -> None:
        """Rebuild the optimizer and clear the cached costs, after parameters were replaced."""
        ...

    def training_batches(self, samples: int) -> Iterator[Any]:
        """Yield the inputs of `samples` random training samples, the same at every call, without augmentation."""
        ...

    def one_epoch(self, size: int = 256) -> Iterator[Batch]:
        """Yield every training sample once, in index order, without augmentation."""
        ...

    def begin_pass(self) -> None:
        """End the pass over the data after the current batch, so that `select` is called again."""
        ...

    def reference(self) -> nn.Module:
        """Return the run's best finished model in eval mode, for techniques that require `reference`.

        Raises:
            UsageError: If the trial was given none.
        """
        ...

    def keep_data_on_device(self, share: float) -> bool:
        """Move the training data to the device if they take less than `share` of its free memory.

        Returns:
            Whether the data were moved.
        """
        ...

    def load_in_background(self, workers: int) -> bool:
        """Prefetch samples in worker processes; return False if the data are in memory already.

        Args:
            workers: Number of worker processes; 0 for none, negative to choose the number by a measurement.
        """
        ...
