"""What several techniques do with tensors. Inputs may be one tensor or several: `map_*` reach the ones meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

IGNORED = -100
"""Targets with this value do not count, as in `torch.nn.functional.cross_entropy`."""


def mean_of_counted(each: Tensor, targets: Tensor) -> Tensor:
    """The mean over all but the first dimension, leaving out positions whose whole-number target is ignored."""
    if targets.shape == each.shape and not targets.is_floating_point():
        counted = (targets != IGNORED).to(each.dtype)
        return (each * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1)
    return each.flatten(1).mean(1)


def map_tensors(change: Callable[[Tensor], Any], data: Any) -> Any:
    """Apply `change` to a tensor, or to each in a tuple or mapping of tensors."""
    if isinstance(data, Tensor):
        return change(data)
    if isinstance(data, Mapping):
        return {key: map_tensors(change, part) for key, part in data.items()}
    if isinstance(data, tuple | list):
        return tuple(map_tensors(change, part) for part in data)
    return data


def tensors_in(data: Any) -> list[Tensor]:
    """The tensors of a tensor, tuple or mapping."""
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
    """The model's output: a dict is passed as keywords, a tuple as arguments, and `.logits` is taken."""
    if isinstance(inputs, Tensor):
        output = model(inputs)
    elif isinstance(inputs, dict):
        output = model(**inputs)
    else:
        output = model(*inputs)
    return output.logits if hasattr(output, "logits") else output


def random_numbers_kept(device: torch.device) -> AbstractContextManager[None]:
    """What is drawn inside, on the CPU and on `device`, leaves later random numbers what they were."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def random_boxes(x: Tensor, side: Tensor, generator: torch.Generator) -> Tensor:
    """Masks of boxes around random pixels, cut off at the border, shape [n, h, w].

    Args:
        x: Images, shape [n, c, h, w].
        side: Side of each box as a share of the image's, shape [n].
        generator: Of random numbers on the images' device.
    """
    spans = []
    for length in x.shape[-2:]:
        centre = torch.rand((len(x), 1), generator=generator, device=x.device) * length
        position = torch.arange(length, device=x.device) + 0.5
        spans.append((position - centre).abs() < side[:, None] * length / 2)
    return spans[0][:, :, None] & spans[1][:, None, :]


def summed_over_ranks(x: Tensor) -> Tensor:
    """The sum of every rank's tensor, the same on all of them; all must call it. Alone, the tensor itself."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(x)
    return x
