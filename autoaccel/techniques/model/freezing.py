"""Freeze early layers, so that the backward pass ends at the first trained layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Any

import torch
from torch import nn

from autoaccel.core.schedules import Schedule
from autoaccel.techniques.base import Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.frozen import hold, release
from autoaccel.techniques.shared.modules import evaluating, layers_in_order


@technique(
    "layer_freezing",
    family="model",
    category="curriculum learning",
    tags=("freezes",),
    # Adapters freeze layers themselves, pruning creates new parameters that are not frozen, and every new set of
    # trained parameters is one more compilation.
    conflicts=("adapts", "reshapes_weights", "compiles"),
    order=55,
    paper="arXiv 1706.04983; arXiv 2201.06227",
)
class LayerFreezing(Technique):
    """Freeze early layers late in training, or unfreeze layers gradually in fine-tuning.

    A decreasing share unfreezes layers step by step; a share of 1 trains only the last layer. Parameters that the
    last layer shares with others, such as an embedding, are never frozen.

    Args:
        share: Share of the layers that is frozen, in the order in which they run and without the last.
        levels: The share is rounded to a multiple of 1 / `levels`.
    """

    share: Number = parameter(Schedule(0.0, 0.5, since=0.4, until=0.8), 0.0, 0.7)
    levels: int = parameter(4, 2, 8, integer=True)
    level: int = field(init=False, default=0, repr=False)
    frozen: list[str] = field(init=False, default_factory=list, repr=False)

    def setup(self, context: Context) -> None:
        """Freeze the layers that are frozen from the start, before the optimizer is built."""
        self._follow(context)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Freeze or unfreeze layers after a step that changes the level."""
        yield
        if self._follow(context):
            context.rebuild()

    def resume(self, context: Context, state: dict[str, Any]) -> None:
        """Freeze the layers that were frozen."""
        self._thaw(context.model)
        parameters = dict(context.model.named_parameters())
        for name in state["frozen"]:
            hold(parameters[name])
        super().resume(context, state)

    def finish(self, context: Context) -> None:
        """Unfreeze all layers."""
        self._thaw(context.model)

    def _follow(self, context: Context) -> bool:
        level = round(value(self.share, context.p) * self.levels)
        if level == self.level:
            return False
        self.level = level
        self._thaw(context.model)
        self._freeze(context, level / self.levels)
        return True

    def _thaw(self, model: nn.Module) -> None:
        parameters = dict(model.named_parameters())
        for name in self.frozen:
            release(parameters[name])
        self.frozen = []

    def _freeze(self, context: Context, share: float) -> None:
        inputs = next(context.training_batches(2))
        with torch.no_grad(), evaluating(context.model):
            layers = layers_in_order(context.model, lambda: context.forward(inputs))
        own = [[p for p in layer.parameters(recurse=False) if p.requires_grad] for layer in layers]
        trained = [part for part in own if part]
        early = trained[: round(share * (len(trained) - 1))]
        chosen = {p for part in early for p in part} - set(trained[-1])
        for name, held in context.model.named_parameters():
            if held in chosen:
                hold(held)
                self.frozen.append(name)
