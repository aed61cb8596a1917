"""Tensor utilities. Inputs may be one tensor or several; each `map_*` function changes those of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

IGNORED = -100
"""Targets with this value are ignored, as in `torch.nn.functional.cross_entropy`."""


def mean_of_counted(each: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over all but the first dimension, without positions whose integer target is ignored."""
    if targets.shape == each.shape and not targets.is_floating_point():
        counted = (targets != IGNORED).to(each.dtype)
        return (each * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1)
    return each.flatten(1).mean(1)


def map_tensors(change: Callable[[Tensor], Any], data: Any) -> Any:
    """Apply `change` to a tensor, or to each tensor in a tuple, list or mapping."""
    if isinstance(data, Tensor):
        return change(data)
    if isinstance(data, Mapping):
        return {key: map_tensors(change, part) for key, part in data.items()}
    if isinstance(data, tuple | list):
        return tuple(map_tensors(change, part) for part in data)
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
    """Call the model with a tensor, a dict of keywords or a tuple of arguments; return its output or `.logits`."""
    if isinstance(inputs, Tensor):
        output = model(inputs)
    elif isinstance(inputs, dict):
        output = model(**inputs)
    else:
        output = model(*inputs)
    return output.logits if hasattr(output, "logits") else output


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
