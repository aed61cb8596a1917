"""Weights on disk, as safetensors: no code is run by loading them, and tied weights are kept once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn

from autoaccel.techniques.shared.quantized import store_alike


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's weights so that the file at `path` is always whole."""
    temporary = path.with_suffix(".tmp")
    _own_memory(model)
    save_model(model, str(temporary))
    for module in model.modules():
        if isinstance(module, nn.RNNBase):  # its test is still to come
            module.flatten_parameters()
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _own_memory(model: nn.Module) -> None:
    """Give weights that are parts of one larger piece of memory a piece of their own, which safetensors asks for.

    On a GPU the weights of a recurrent layer are such parts.
    """
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.untyped_storage().nbytes() > tensor.nbytes:
            tensor.data = tensor.data.clone()


def load_weights(model: nn.Module, path: Path) -> None:
    """Read weights into a model, whose layers are made what the weights were saved from: smaller, or in int8.

    Raises:
        RuntimeError: If names do not fit.
    """
    weights = load_file(path)
    store_alike(model, weights)
    shrink(model, weights)
    load_model(model, str(path))


def shrink(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give the layers of a model the sizes of pruned weights.

    Args:
        model: Changed in place.
        weights: By the names of the model's own state.
    """
    for name, module in model.named_modules():
        for kind in (module._parameters, module._buffers):
            for key, own in kind.items():
                saved = weights.get(f"{name}.{key}" if name else key)
                if own is not None and saved is not None and saved.shape != own.shape:
                    own.data = saved.new_empty(saved.shape)
        _describe(module)


def _describe(module: nn.Module) -> None:
    """Set what a layer says of itself to what its weights are."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        depthwise = module.groups == module.in_channels
        module.out_channels = module.weight.shape[0]
        module.groups = module.out_channels if depthwise and module.groups > 1 else module.groups
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.LayerNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None:
        module.num_features = len(module.weight)
