"""Save and load weights as safetensors: loading runs no code, and tied weights are stored once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn

from autoaccel.techniques.shared.quantized import store_alike


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's weights atomically, so that the file at `path` is always complete."""
    temporary = path.with_suffix(".tmp")
    _own_memory(model)
    save_model(model, str(temporary))
    for module in model.modules():
        if isinstance(module, nn.RNNBase):  # cuDNN wants them in one piece in the test that follows
            module.flatten_parameters()
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _own_memory(model: nn.Module) -> None:
    """Copy tensors that are views of a larger storage, such as a recurrent layer's weights on a GPU.

    Safetensors refuses such views.
    """
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.untyped_storage().nbytes() > tensor.nbytes:
            tensor.data = tensor.data.clone()


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a model, after changing its layers to match pruned or int8 weights.

    Raises:
        RuntimeError: If the names do not match.
    """
    weights = load_file(path)
    store_alike(model, weights)
    shrink(model, weights)
    load_model(model, str(path))


def shrink(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Resize the layers of a model to the shapes of pruned weights.

    Args:
        model: Changed in place.
        weights: Weights by the names in the model's own state dict.
    """
    for name, module in model.named_modules():
        for kind in (module._parameters, module._buffers):
            for key, own in kind.items():
                saved = weights.get(f"{name}.{key}" if name else key)
                if own is not None and saved is not None and saved.shape != own.shape:
                    own.data = saved.new_empty(saved.shape)
        _describe(module)


def _describe(module: nn.Module) -> None:
    """Set the size attributes of a layer to match its weights."""
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
