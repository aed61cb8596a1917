"""Weights as whole numbers of 8 bits with one scale for each output channel, in training and on disk.

A quantized layer's saved state has `weight` in int8 and `weight_scale`, shape [out], in floats; their product
is the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoaccel.techniques.shared.modules import LAYERS, extend, own_layers, restore

LEVELS = 127
"""The largest whole number of 8 bits whose negative is one too."""


class FakeInt8(nn.Module):
    """Put before a layer: it computes with the weight that int8 would leave of it, and trains the real one."""

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with its weight rounded."""
        layer = cast(Any, self)
        weight = rounded(layer.weight, _channels(self))
        if isinstance(self, nn.modules.conv._ConvNd):
            return cast(Tensor, layer._conv_forward(x, weight, layer.bias))
        return F.linear(x, weight if isinstance(self, nn.Linear) else weight.T, layer.bias)


class Int8(nn.Module):
    """Put before a layer whose weight is stored in int8: whoever asks for `weight` is given floats."""

    weight_scale: Tensor

    @property
    def weight(self) -> Tensor:
        """The weight in the precision of its scale."""
        return _product(cast(Tensor, self._buffers["weight"]), self.weight_scale, _channels(self))


def rounded(weight: Tensor, channels: int) -> Tensor:
    """The weight as int8 leaves it; gradients pass as if it were not rounded.

    torch's own fake quantization runs on no meta device, where costs are counted.

    Args:
        weight: Floats.
        channels: The dimension that has a scale for each of its places.
    """
    with torch.no_grad():
        change = _product(*as_int8(weight, channels), channels) - weight
    return weight + change


def as_int8(weight: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Whole numbers in int8, and the scales that they are to be multiplied by, shape [channels]."""
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
    """Store those layers of a model in int8 whose saved weights are."""
    for name, layer in own_layers(model).items():
        if f"{name}.weight_scale" in weights and weights[f"{name}.weight"].dtype == torch.int8:
            store_int8(layer)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's state as it was before any layer was stored in int8."""
    state: dict[str, Tensor] = model.state_dict()
    for name, layer in model.named_modules():
        if isinstance(layer, Int8):
            state[f"{name}.weight"] = layer.weight
            del state[f"{name}.weight_scale"]
    return state


def _channels(layer: nn.Module) -> int:
    """The dimension of a weight that has the outputs; transformers' Conv1D has them last."""
    return 0 if isinstance(layer, LAYERS) else 1


def _product(stored: Tensor, scale: Tensor, channels: int) -> Tensor:
    return stored.to(scale.dtype) * _along(scale, stored, channels)


def _along(scale: Tensor, weight: Tensor, channels: int) -> Tensor:
    return scale.view([-1 if d == channels else 1 for d in range(weight.dim())])
