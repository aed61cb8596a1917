"""Tensor utilities. Inputs may be one tensor or several; each `map_*` function changes those of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

IGNORED = -100
"""Targets with this value are ignored, as in `torch.nn.functional.cross_entropy`."""


def map_tensors(change: Callable[[Tensor], Any], data: Any) -> Any:
    """Apply `change` to a tensor, or to each tensor in nested tuples, lists and mappings, which keep their form."""
    if isinstance(data, Tensor):
        return change(data)
    if isinstance(data, Mapping):
        return {key: map_tensors(change, part) for key, part in data.items()}
    if isinstance(data, tuple | list):
        parts = [map_tensors(change, part) for part in data]
        return parts if isinstance(data, list) else tuple(parts)
    return data


def tensors_in(data: Any) -> list[Tensor]:
    """Return all tensors in a tensor, tuple, list or mapping."""
    found: list[Tensor] = []
    map_tensors(found.append, data)
    return found


def map_images(change: Callable[[Tensor], Tensor], inputs: Any) -> Any:
    """Apply `change` to every tensor of shape [n, c, h, w]."""
    return map_tensors(lambda t: change(t) if t.dim() == 4 else t, inputs)


def map_sequences(change: Callable[[Tensor], Tensor], inputs: Any) -> Any:
    """Apply `change` to every tensor of shape [n, t, ...]."""
    return map_tensors(lambda t: change(t) if t.dim() > 1 else t, inputs)


def call(model: nn.Module, inputs: Any) -> Any:
    """Call the model: a tuple holds its arguments, a dict its keywords, and anything else is its only argument."""
    if isinstance(inputs, tuple):
        return model(*inputs)
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def main_tensor(output: Any) -> Any:
    """Return the tensor that holds a model's predictions; None if the output does not tell which one does.

    That is the output itself, its `logits`, as in the models of transformers, or the only tensor of a tuple that is
    not a single number, as where a model returns `(logits, loss)`.
    """
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    if isinstance(output, tuple | list):
        found = [part for part in output if isinstance(part, Tensor) and part.dim() > 0]
        rest = [part for part in output if not isinstance(part, Tensor) and part is not None]
        return found[0] if len(found) == 1 and not rest else None
    return None


def random_numbers_kept(device: torch.device) -> AbstractContextManager[None]:
    """Restore the random state of the CPU, and of `device` if it is a CUDA device, on exit."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def random_boxes(x: Tensor, side: Tensor, generator: torch.Generator) -> Tensor:
    """Return masks of boxes around random pixels, clipped at the border, shape [n, h, w].

    Args:
        x: Images, shape [n, c, h, w].
        side: Side of each box as a share of the image's side, shape [n].
        generator: Random generator on the images' device.
    """
    spans = []
    for length in x.shape[-2:]:
        centre = torch.rand((len(x), 1), generator=generator, device=x.device) * length
        position = torch.arange(length, device=x.device) + 0.5
        spans.append((position - centre).abs() < side[:, None] * length / 2)
    return spans[0][:, :, None] & spans[1][:, None, :]


def summed_over_ranks(x: Tensor) -> Tensor:
    """Sum a tensor over all ranks in place, if there are several, and return it; all ranks must call this."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(x)
    return x
