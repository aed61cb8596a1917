"""Int8 weights with one scale per output channel, in training and on disk.

The saved state of a quantized layer has `weight` in int8 and `weight_scale`, shape [out], in floating point;
their product is the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoaccel.techniques.shared.modules import LAYERS, extend, own_layers, restore

LEVELS = 127
"""Largest value of the symmetric int8 range [-127, 127]."""


class FakeInt8(nn.Module):
    """Behavior of a layer in training: compute with the weight rounded to int8, and train the float weight."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for the rounded weight."""
        layer = cast(Any, self)
        weight = rounded(layer.weight, _channels(self))
        if isinstance(self, nn.modules.conv._ConvNd):
            return cast(Tensor, layer._conv_forward(x, weight, layer.bias))
        return F.linear(x, weight if isinstance(self, nn.Linear) else weight.T, layer.bias)


class Int8(nn.Module):
    """Behavior of a layer whose weight is stored in int8: `weight` returns it in floating point."""

    weight_scale: Tensor

    @property
    def weight(self) -> Tensor:
        """Return the weight in the dtype of its scale."""
        return _product(cast(Tensor, self._buffers["weight"]), self.weight_scale, _channels(self))


def rounded(weight: Tensor, channels: int) -> Tensor:
    """Return the weight rounded to int8 and back, with a straight-through gradient.

    torch's fake quantization does not run on the meta device, where costs are counted.

    Args:
        weight: Weight in floating point.
        channels: The dimension that has one scale for each index.
    """
    with torch.no_grad():
        change = _product(*as_int8(weight, channels), channels) - weight
    return weight + change


def as_int8(weight: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Quantize a weight: return int8 values and the scales to multiply them by, one per index of `channels`."""
    others = [d for d in range(weight.dim()) if d != channels]
    scale = weight.abs().amax(others).clamp(min=torch.finfo(weight.dtype).tiny * LEVELS) / LEVELS
    return (weight / _along(scale, weight, channels)).round().to(torch.int8), scale


def store_int8(layer: nn.Module) -> None:
    """Replace the weight of a layer by its int8 form, in place and under the same name."""
    restore(layer, FakeInt8)
    stored, scale = as_int8(cast(Any, layer).weight.detach(), _channels(layer))
    del layer.weight
    layer.register_buffer("weight", stored)
    layer.register_buffer("weight_scale", scale)
    extend(layer, Int8)


def store_alike(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Convert those layers of a model to int8 whose saved weights are int8."""
    for name, layer in own_layers(model).items():
        if f"{name}.weight_scale" in weights and weights[f"{name}.weight"].dtype == torch.int8:
            store_int8(layer)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's tensors with float weights for the layers stored in int8, and without their scales."""
    state = {name: part for name, part in model.state_dict().items() if isinstance(part, Tensor)}
    for name, layer in model.named_modules():
        if isinstance(layer, Int8):
            state[f"{name}.weight"] = layer.weight
            del state[f"{name}.weight_scale"]
    return state


def _channels(layer: nn.Module) -> int:
    """Return the output dimension of the weight: the first, except in transformers' Conv1D."""
    return 0 if isinstance(layer, LAYERS) else 1


def _product(stored: Tensor, scale: Tensor, channels: int) -> Tensor:
    return stored.to(scale.dtype) * _along(scale, stored, channels)


def _along(scale: Tensor, weight: Tensor, channels: int) -> Tensor:
    return scale.view([-1 if d == channels else 1 for d in range(weight.dim())])
