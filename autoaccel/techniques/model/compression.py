"""Prune models: remove channels, or set weights to zero."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from autoaccel.core.schedules import Schedule
from autoaccel.techniques.base import Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.frozen import frozen_tensors, own_weight
from autoaccel.techniques.shared.modules import LAYERS, evaluating, is_transposed_linear, output_layers
from autoaccel.techniques.shared.tensors import call


@technique(
    "structured_pruning",
    family="model",
    category="model compression",
    requires=("convolutions",),
    tags=("reshapes_weights",),
    conflicts=("reshapes_weights", "masks_weights"),
    order=55,
    package="torch_pruning",
    extra="compress",
    paper="arXiv 2301.12900",
)
class StructuredPruning(Technique):
    """Remove the channels of lowest norm once and continue with the smaller model.

    Args:
        ratio: Share of the channels that is removed.
        at: Progress at which they are removed.
        multiple: The number of remaining channels is a multiple of this, for fast kernels; layers with no more
            channels than this stay unchanged.
    """

    ratio: Number = parameter(0.3, 0.1, 0.6)
    at: float = parameter(0.3, 0.1, 0.6)
    multiple: int = parameter(8, options=(1, 4, 8, 16))
    done: bool = field(init=False, default=False, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Prune after the first step with progress of at least `at`."""
        yield
        if not self.done and context.p >= self.at:
            ratio = value(self.ratio, context.p)
            cut_channels(context.model, next(context.training_batches(2)), ratio, self.multiple)
            context.rebuild()
            self.done = True

    def deliverable(self, context: Context) -> bool:
        """Return whether the channels are removed."""
        return self.done


def cut_channels(model: nn.Module, inputs: Any, ratio: float, multiple: int) -> None:
    """Remove the channels of lowest L2 norm and everything that depends on them; outputs keep their shape.

    Channels stay where removing them would change a tensor that the user froze, or a weight that is computed.

    Args:
        model: Changed in place.
        inputs: A batch for the model; dependencies are traced with it.
        ratio: Share of each group of channels that is removed.
        multiple: The number of remaining channels is a multiple of this.
    """
    import torch_pruning

    class Pruner(torch_pruning.pruner.BasePruner):  # type: ignore[misc]  # defined here, since torch_pruning is optional
        def _round_to(self, n_pruned: int, current_channels: int, round_to: int) -> int:
            """Leave at least `round_to` channels; nothing is removed from a layer with no more than that."""
            rounded: int = super()._round_to(n_pruned, current_channels, round_to)
            return min(rounded, max(0, current_channels - round_to))

        def _check_pruning_ratio(self, group: Any) -> bool:
            """Leave a group of channels whole if one of its tensors must keep its shape."""
            if any(_keeps_shape(dep.target.module, frozen) for dep, _ in group):
                return False
            return bool(super()._check_pruning_ratio(group))

    frozen = frozen_tensors(model)
    with evaluating(model):  # torch_pruning leaves the model in eval mode
        pruner = Pruner(
            model,
            inputs,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            round_to=multiple,
            ignored_layers=output_layers(model, lambda: call(model, inputs)),
        )
        pruner.step()
    for trained in model.parameters():
        trained.grad = None


def _keeps_shape(part: nn.Module | nn.Parameter, frozen: Collection[int]) -> bool:
    if isinstance(part, nn.Parameter):
        return id(part) in frozen
    if isinstance(part, LAYERS) and own_weight(part) is None:
        return True
    return any(id(t) in frozen for t in chain(part.parameters(recurse=False), part.buffers(recurse=False)))


@technique(
    "magnitude_pruning",
    family="model",
    category="model compression",
    tags=("masks_weights",),
    conflicts=("reshapes_weights", "masks_weights"),
    order=55,
    paper="arXiv 1710.01878",
)
class MagnitudePruning(Technique):
    """Zero a growing share of the smallest weights of each layer; dense hardware gains no speed.

    Args:
        sparsity: Share of zeros at the end.
        since: Progress at which pruning begins.
        until: Progress at which `sparsity` is reached.
        every: Progress between updates of the masks.
    """

    sparsity: float = parameter(0.7, 0.3, 0.95)
    since: float = parameter(0.1, 0.0, 0.4)
    until: float = parameter(0.7, 0.5, 0.9)
    every: float = parameter(0.02, 0.01, 0.1)
    masks: list[Tensor] = field(init=False, default_factory=list, repr=False)
    next: float = field(init=False, default=0.0, repr=False)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Update the masks at intervals of `every`, and apply them after each step."""
        yield
        if context.p >= max(self.since, self.next) and self.next <= self.until:
            share = Schedule(0.0, self.sparsity, self.since, self.until, "cubic")(context.p)
            self.masks = [_largest(weight.detach(), share) for weight in _prunable(context.model)]
            self.next = min(context.p + self.every, self.until) if context.p < self.until else 2.0
        self._apply(context)

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Apply the masks to the evaluated weights, since weight averaging fills the zeros."""
        self._apply(context)
        yield

    def deliverable(self, context: Context) -> bool:
        """Return whether `sparsity` is reached; masks stay the same from then on."""
        return self.next > self.until

    def _apply(self, context: Context) -> None:
        if self.masks:
            torch._foreach_mul_([weight.detach() for weight in _prunable(context.model)], self.masks)


def _prunable(model: nn.Module) -> list[Tensor]:
    """Return the weights of all layers, except those that are frozen, computed, or shared with an embedding."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    layers = (m for m in model.modules() if isinstance(m, LAYERS) or is_transposed_linear(m))
    weights = [own_weight(layer) for layer in layers]
    return [weight for weight in weights if weight is not None and id(weight) not in tables]


def _largest(weight: Tensor, share: float) -> Tensor:
    """Return a mask: 0 for the smallest `share` of the weights, 1 for the others."""
    count = int(share * weight.numel())
    if count == 0:
        return torch.ones_like(weight)
    size = weight.abs()
    return (size > size.flatten().kthvalue(count).values).to(weight.dtype)
