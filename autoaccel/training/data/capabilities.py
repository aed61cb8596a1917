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
from autoaccel.techniques.shared.tensors import call, map_tensors, tensors_in
from autoaccel.training.data.prepare import Data
from autoaccel.training.data.sources import DatasetSource, StreamSource, first_few, root_of
from autoaccel.training.data.task import KINDS, Task
from autoaccel.training.meters.count_flops import dry_run

Offer = Callable[[Task, Data, nn.Module], bool]


def _kind(kind: str) -> Offer:
    # Techniques that change inputs of a kind know them as rows of tensors.
    return lambda task, data, model: data.kind == kind and data.found.fit


def _continuous(task: Task, data: Data, model: nn.Module) -> bool:
    found = tensors_in(_few_inputs(data))
    return data.found.fit and bool(found) and found[0].is_floating_point()


def _indexed(task: Task, data: Data, model: nn.Module) -> bool:
    return not isinstance(data.train.source, StreamSource)


def _free_order(task: Task, data: Data, model: nn.Module) -> bool:
    return _indexed(task, data, model) and data.order is None and data.batches is None


def _convolutions(task: Task, data: Data, model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) for module in model.modules())


def _projections(task: Task, data: Data, model: nn.Module) -> bool:
    return len(projections(model)) > 1


def _any_size(task: Task, data: Data, model: nn.Module) -> bool:
    def half(images: Tensor) -> Tensor:
        return images[..., : images.shape[-2] // 2, : images.shape[-1] // 2]

    return data.kind == "image" and data.found.fit and _accepts(model, _few_inputs(data), half)


def _any_length(task: Task, data: Data, model: nn.Module) -> bool:
    def half(sequences: Tensor) -> Tensor:
        return sequences[:, : max(1, sequences.shape[1] // 2)]

    # A decoder that is fed its labels would be cut apart from them.
    if data.kind not in ("tokens", "series") or not data.found.fit or data.found.reader.fed:
        return False
    return _accepts(model, _few_inputs(data), half)


def _labels(task: Task, data: Data, model: nn.Module) -> bool:
    targets = _few_targets(data)
    return data.objective.of_classes and isinstance(targets, Tensor) and targets.dim() == 1


def _cross_entropy(task: Task, data: Data, model: nn.Module) -> bool:
    loss = data.objective
    return loss.name == "cross_entropy" and loss.of_classes and loss.per_sample and not loss.raw


def _whole_targets(task: Task, data: Data, model: nn.Module) -> bool:
    targets = _few_targets(data)
    return isinstance(targets, Tensor) and targets.dim() < 3 and data.found.fit


def _blocks(task: Task, data: Data, model: nn.Module) -> bool:
    return len(repeated_blocks(model, _inputs_beside(model, data))) > 1


def _token_blocks(task: Task, data: Data, model: nn.Module) -> bool:
    return len(token_blocks(model, _inputs_beside(model, data))) > 1


CAPABILITIES: Mapping[str, Offer] = MappingProxyType(
    {
        **{kind: _kind(kind) for kind in KINDS},
        "indexed": _indexed,
        "free_order": _free_order,
        "free_batches": lambda task, data, model: data.batches is None,
        "sample_losses": lambda task, data, model: data.objective.per_sample,
        "classes": lambda task, data, model: data.objective.of_classes and data.classes > 0,
        "continuous": _continuous,
        "flips": lambda task, data, model: task.flips,
        "convolutions": _convolutions,
        "projections": _projections,
        "labels": _labels,
        "whole_targets": _whole_targets,
        "cross_entropy": _cross_entropy,
        "blocks": _blocks,
        "token_blocks": _token_blocks,
        "dropout": lambda task, data, model: bool(dropouts(model)),
        "eager_attention": lambda task, data, model: bool(eager_attention(model)),
        "dataset": lambda task, data, model: isinstance(root_of(data.train.source), DatasetSource),
        "any_size": _any_size,
        "any_length": _any_length,
    }
)
"""Every capability of a task, with the function that checks for it. The profile adds those of the machine."""


WHY: Mapping[str, str] = MappingProxyType(
    {
        "indexed": "the training data is a stream",
        "free_order": "a sampler of yours, or a stream, decides the order of the samples",
        "free_batches": "your batch sampler makes the batches",
        "sample_losses": "the loss is one number a batch",
    }
)
"""Why a task lacks a capability, where that is not plain from its name."""


def task_capabilities(
    task: Task, data: Data, model: nn.Module, asked: Collection[str] = CAPABILITIES
) -> frozenset[str]:
    """Return the capabilities of a task.

    Args:
        task: The user's task.
        data: The task's data, prepared.
        model: A model built by the task's factory.
        asked: Check only these.
    """
    return frozenset(name for name in CAPABILITIES if name in asked and _offers(name, task, data, model))


def _offers(name: str, task: Task, data: Data, model: nn.Module) -> bool:
    try:
        return CAPABILITIES[name](task, data, model)
    except Exception:  # a model that trains must not fail here: what cannot be found out is not offered
        return False


def _few_targets(data: Data) -> Any:
    return data.train.take(torch.arange(1))[1]


def _few_inputs(data: Data) -> Any:
    return data.train.take(first_few(data.train))[0]


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
