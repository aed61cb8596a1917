"""Find out how a batch of the user's data goes into the model's forward."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import call, map_tensors, random_numbers_kept, tensors_in
from autoaccel.training.data.opening import Opened
from autoaccel.training.data.reading import LAST, NONE, Reader, label_key
from autoaccel.training.metrics.own import MODEL


def find_reader(model: nn.Module, opened: Opened, batch: Any, count: int, loss: Any) -> Reader:
    """Return how to read a batch; dtypes are looked at later.

    Args:
        model: A model built by the task's factory.
        opened: The training data.
        batch: A batch of a few samples, in the form that the user's data has.
        count: Number of samples in it.
        loss: What the user gave.

    Raises:
        TaskError: If the model's forward takes other inputs than the batch has.
    """
    forward = _signature(model)
    reader = Reader(targets=_place(batch), lists=opened.own_collate and _lists(batch, count), names=opened.names)
    inputs, targets = reader.divide(batch)
    every = (*inputs, targets) if isinstance(inputs, tuple) else (inputs, targets)
    if reader.targets == LAST and not _takes(forward, inputs) and _takes(forward, every):
        # The forward takes one part more: either it computes its own loss, or the samples have no targets.
        return replace(reader, fed=LAST) if loss in (None, MODEL) else replace(reader, targets=NONE)
    if loss == MODEL and reader.targets != NONE:
        reader = replace(reader, fed=LAST if reader.targets == LAST else fed_name(model, reader.targets))
        inputs, _ = reader(batch)
    if isinstance(inputs, tuple | dict) and not _takes(forward, inputs):
        if _takes(forward, (inputs,)):
            return replace(reader, whole=True)
        raise TaskError(f"the model's forward takes {_parameters(forward)}, but a batch has {_parts(inputs)}")
    return reader


def fed_name(model: nn.Module, key: str) -> str:
    """Return the name under which the model's forward may take the labels at `key`; empty if it takes none."""
    names = _signature(model).parameters
    named = next((name for name in (key, "labels", "targets") if name in names), NONE)
    # A wrapper such as a compiled model passes on everything that it is given.
    return named or (key if any(each.kind is each.VAR_KEYWORD for each in names.values()) else NONE)


def example_output(model: nn.Module, inputs: Any, differentiable: bool = False) -> Any:
    """Return what the model returns for a few samples, in eval mode and without a trace of the call."""
    training, device = model.training, _device(model)
    try:
        with torch.set_grad_enabled(differentiable), random_numbers_kept(device):
            return call(model.eval(), map_tensors(lambda t: t.to(device), inputs))
    finally:
        model.train(training)


def with_dtypes(model: nn.Module, reader: Reader, batch: Any) -> tuple[Reader, Any]:
    """Return the reader with the dtypes that the forward accepts, and the output for the batch."""
    reader = replace(reader, floats=_float_dtype(model))
    inputs, _ = reader(batch)
    try:
        return reader, example_output(model, inputs)
    except (RuntimeError, TypeError):
        if all(t.is_floating_point() for t in tensors_in(inputs)):
            raise
        cast = replace(reader, cast=True)
        with suppress(Exception):  # as floats they are no better, so the first error is the one to show
            return cast, example_output(model, cast(batch)[0])
        raise


def _place(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return label_key(batch)
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        return NONE
    # More than two mappings or texts are a list of samples.
    return LAST if len(batch) == 2 or not isinstance(batch[0], Mapping | str) else NONE


def _lists(batch: Any, count: int) -> bool:
    """Return whether a batch holds lists with an element a sample, as of boxes in images."""
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else ()
    return any(isinstance(part, list) and len(part) == count for part in parts)


def _float_dtype(model: nn.Module) -> torch.dtype | None:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), None)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _signature(model: nn.Module) -> inspect.Signature:
    return inspect.signature(model.forward)


def _takes(forward: inspect.Signature, inputs: Any) -> bool:
    try:
        if isinstance(inputs, tuple):
            forward.bind(*inputs)
        elif isinstance(inputs, dict):
            forward.bind(**inputs)
        else:
            forward.bind(inputs)
    except TypeError:
        return False
    return True


def _parameters(forward: inspect.Signature) -> str:
    return ", ".join(forward.parameters) or "nothing"


def _parts(inputs: Any) -> str:
    return ", ".join(map(str, inputs)) if isinstance(inputs, dict) else f"{len(inputs)} parts before the targets"
