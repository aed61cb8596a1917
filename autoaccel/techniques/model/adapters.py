"""Low-rank adapters: fine-tune a pretrained model with few trained parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoaccel.techniques.base import Context, Technique, parameter, technique
from autoaccel.techniques.shared.frozen import hold, release
from autoaccel.techniques.shared.modules import (
    Factor,
    Unfused,
    extend,
    is_transposed_linear,
    output_layers,
    projections,
    restore,
    unfuse,
)


class Adapted(nn.Module):
    """Extend a linear layer: add `lora_scale * B A x` to its output."""

    lora_a: Tensor
    lora_b: Tensor
    lora_scale: float

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the layer's and the adapter's output."""
        layer: Any = super()
        added = F.linear(F.linear(x, self.lora_a), self.lora_b)
        return cast(Tensor, layer.forward(x) + self.lora_scale * added)


@technique(
    "lora",
    family="model",
    category="model compression",
    requires=("projections",),
    tags=("adapts",),
    # These change weights that an adapter assumes fixed or is merged into at the end. After another initialization
    # most weights would stay frozen at their initial values.
    conflicts=("adapts", "reshapes_weights", "masks_weights", "fakes_precision", "freezes", "initializes"),
    order=55,
    paper="arXiv 2106.09685",
)
class Lora(Technique):
    """Freeze a pretrained model except its last layer, and train low-rank adapters of its linear layers.

    Args:
        rank: Rank of each adapter.
        scale: Factor on the output of the adapters; alpha / rank in the paper.
        vectors: Also train gains and biases.
    """

    rank: int = parameter(8, 2, 64, log=True, integer=True)
    scale: float = parameter(2.0, 0.5, 8.0, log=True)
    vectors: bool = parameter(True, options=(False, True))
    frozen: list[str] = field(init=False, default_factory=list, repr=False)

    def setup(self, context: Context) -> None:
        """Freeze weights and add adapters; outputs do not change, since one factor of each adapter is zero."""
        model = context.model
        inputs = next(context.training_batches(2))
        head = output_layers(model, lambda: context.forward(inputs))
        kept = {id(p) for layer in head for p in layer.parameters()}
        if self.vectors:
            kept |= {id(p) for p in model.parameters() if p.dim() < 2}
        self.frozen = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in kept]
        for name in self.frozen:
            hold(model.get_parameter(name))
        unfuse(model)
        for layer in projections(model).values():
            if layer not in head:
                self._adapt(layer, context.shared)
        context.variants["lora"] = self.rank

    def _adapt(self, layer: nn.Module, generator: torch.Generator) -> None:
        weight = cast(Tensor, layer.weight)
        outputs, inputs = weight.T.shape if is_transposed_linear(layer) else weight.shape
        rank = min(self.rank, outputs, inputs)
        # Drawn on the CPU, so that all devices and ranks start with the same values.
        drawn = (2 * torch.rand(rank, inputs, generator=generator) - 1) * inputs**-0.5
        extend(layer, Adapted)
        layer.lora_a = Factor(drawn.to(weight))
        layer.lora_b = Factor(weight.new_zeros(outputs, rank))
        layer.lora_scale = self.scale  # type: ignore[assignment]

    def finish(self, context: Context) -> None:
        """Merge the adapters into the weights and restore the original modules."""
        for layer in _adapted(context.model):
            _merge(layer)
        for module in context.model.modules():
            restore(module, Unfused)
        for name in self.frozen:
            release(context.model.get_parameter(name))
        del context.variants["lora"]


def _adapted(model: nn.Module) -> Iterator[Adapted]:
    yield from [module for module in model.modules() if isinstance(module, Adapted)]


@torch.no_grad()
def _merge(layer: Adapted) -> None:
    added = layer.lora_scale * layer.lora_b @ layer.lora_a
    weight = cast(Tensor, layer.weight)
    weight += added.T if is_transposed_linear(layer) else added
    restore(layer, Adapted)
    del layer.lora_a, layer.lora_b, layer.lora_scale
