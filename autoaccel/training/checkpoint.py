"""Save and load weights as safetensors: loading runs no code, and tied weights are stored once.

What safetensors cannot hold, such as sparse tensors or extra state that is a dict, is stored as the bytes of
`torch.save` under its name and `ENCODED`, and read without running code too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.quantized import store_alike

ENCODED = "#encoded"
"""Ends the names of what is stored as bytes."""
NO_FORMAT = (torch.complex32, torch.complex128)
"""Dtypes that safetensors does not know."""


class Storable(nn.Module):
    """A model as safetensors sees it: all of its state is tensors that a file can hold."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the model's state, encoded where that is needed."""
        state = self.model.state_dict(*args, **kwargs)
        return dict(_stored(name, part) for name, part in state.items())

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> Any:
        """Load what `state_dict` returned."""
        decoded = dict(_restored(name, part) for name, part in state.items())
        return self.model.load_state_dict(decoded, strict, assign)


def _stored(name: str, part: Any) -> tuple[str, Tensor]:
    if isinstance(part, Tensor) and part.layout is torch.strided and part.dtype not in NO_FORMAT:
        return name, part
    file = io.BytesIO()
    try:
        torch.save(part, file)
        file.seek(0)
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle raises what the user's class raises
        raise TaskError(
            f"{name} of the model is a {type(part).__name__} that cannot be saved and read without running code: "
            "return tensors, numbers, text, lists and dicts from get_extra_state"
        ) from error
    return name + ENCODED, torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def _restored(name: str, part: Tensor) -> tuple[str, Any]:
    if not name.endswith(ENCODED):
        return name, part
    file = io.BytesIO(part.numpy().tobytes())
    return name.removesuffix(ENCODED), torch.load(file, map_location="cpu", weights_only=True)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's weights atomically, so that the file at `path` is always complete.

    Raises:
        TaskError: If the model has extra state that no file of ours can hold.
    """
    temporary = path.with_suffix(".tmp")
    _own_memory(model)
    save_model(Storable(model), str(temporary))
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
        if tensor.layout is torch.strided and tensor.untyped_storage().nbytes() > tensor.nbytes:
            tensor.data = tensor.data.clone()


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a model, after changing its layers to match pruned or int8 weights.

    Lazy layers get their sizes from the file.

    Raises:
        RuntimeError: If the names do not match.
    """
    weights = load_file(path)
    store_alike(model, weights)
    shrink(model, weights)
    load_model(Storable(model), str(path))


def shrink(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Resize the layers of a model to the shapes of saved weights, which may be pruned.

    Args:
        model: Changed in place.
        weights: Weights by the names in the model's own state dict.
    """
    for name, module in model.named_modules():
        for kind in (module._parameters, module._buffers):
            for key, own in kind.items():
                saved = weights.get(f"{name}.{key}" if name else key)
                if own is None or saved is None:
                    continue
                if is_lazy(own):
                    own.materialize(saved.shape)
                elif saved.shape != own.shape:
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
