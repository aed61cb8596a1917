"""The capabilities that a task offers to techniques, as words such as `image`, `classes` and `any_size`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from autoaccel.techniques.shared.modules import (
    dropouts,
    eager_attention,
    projections,
    repeated_blocks,
    token_blocks,
)
from autoaccel.techniques.shared.tensors import call, map_tensors
from autoaccel.training.data.prepare import Data
from autoaccel.training.data.sources import DatasetSource, first_tensor, root_of
from autoaccel.training.data.task import KINDS, Task
from autoaccel.training.meters.count_flops import dry_run

Offer = Callable[[Task, Data, nn.Module], bool]


def _kind(kind: str) -> Offer:
    return lambda task, data, model: data.kind == kind


def _continuous(task: Task, data: Data, model: nn.Module) -> bool:
    return first_tensor(_few_inputs(data)).is_floating_point()


def _convolutions(task: Task, data: Data, model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) for module in model.modules())


def _projections(task: Task, data: Data, model: nn.Module) -> bool:
    return len(projections(model)) > 1


def _any_size(task: Task, data: Data, model: nn.Module) -> bool:
    def half(images: Tensor) -> Tensor:
        return images[..., : images.shape[-2] // 2, : images.shape[-1] // 2]

    return data.kind == "image" and _accepts(model, _few_inputs(data), half)


def _any_length(task: Task, data: Data, model: nn.Module) -> bool:
    def half(sequences: Tensor) -> Tensor:
        return sequences[:, : max(1, sequences.shape[1] // 2)]

    return data.kind in ("tokens", "series") and _accepts(model, _few_inputs(data), half)


def _labels(task: Task, data: Data, model: nn.Module) -> bool:
    return data.classes > 0 and data.train.take(torch.arange(1))[1].dim() == 1


def _whole_targets(task: Task, data: Data, model: nn.Module) -> bool:
    return data.train.take(torch.arange(1))[1].dim() < 3


def _blocks(task: Task, data: Data, model: nn.Module) -> bool:
    return len(repeated_blocks(model, _inputs_beside(model, data))) > 1


def _token_blocks(task: Task, data: Data, model: nn.Module) -> bool:
    return len(token_blocks(model, _inputs_beside(model, data))) > 1


CAPABILITIES: Mapping[str, Offer] = MappingProxyType(
    {
        **{kind: _kind(kind) for kind in KINDS},
        "classes": lambda task, data, model: data.classes > 0,
        "continuous": _continuous,
        "flips": lambda task, data, model: task.flips,
        "convolutions": _convolutions,
        "projections": _projections,
        "labels": _labels,
        "whole_targets": _whole_targets,
        "cross_entropy": lambda task, data, model: data.objective.name == "cross_entropy",
        "blocks": _blocks,
        "token_blocks": _token_blocks,
        "dropout": lambda task, data, model: bool(dropouts(model)),
        "eager_attention": lambda task, data, model: bool(eager_attention(model)),
        "dataset": lambda task, data, model: isinstance(root_of(data.train), DatasetSource),
        "any_size": _any_size,
        "any_length": _any_length,
    }
)
"""Every capability of a task, with the function that checks for it. The profile adds those of the machine."""


def task_capabilities(
    task: Task, data: Data, model: nn.Module, asked: Collection[str] = CAPABILITIES
) -> frozenset[str]:
    """Return the capabilities of a task.

    Args:
        task: The user's task.
        data: The task's data, resolved.
        model: A model built by the task's factory.
        asked: Check only these.
    """
    return frozenset(name for name, offer in CAPABILITIES.items() if name in asked and offer(task, data, model))


def _few_inputs(data: Data) -> Any:
    return data.train.take(torch.arange(min(len(data.train), 8)))[0]


def _inputs_beside(model: nn.Module, data: Data) -> Any:
    device = next(model.parameters()).device
    return map_tensors(lambda t: t.to(device), _few_inputs(data))


def _accepts(model: nn.Module, inputs: Any, cut: Callable[[Tensor], Tensor]) -> bool:
    try:
        with torch.no_grad():
            dry_run(model, map_tensors(cut, inputs), lambda copied, empty: call(copied.eval(), empty))
    except Exception:  # any exception of the user's model means that it does not accept the shape
        return False
    return True
