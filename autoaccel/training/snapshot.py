"""A training's whole state as plain data and tensors, from which another process goes on with the same training.

It holds what a set-up with the same recipe and seed does not bring back: weights and buffers, the optimizer, the
techniques, progress, meters, random numbers, and the place in the data. All of it can be read without running code.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor

from autoaccel.core.quantities import Cost
from autoaccel.training.batches import BatchSampler
from autoaccel.training.best import Best, form_of, load
from autoaccel.training.checkpoint import shrink
from autoaccel.training.context import TrainingContext
from autoaccel.training.meters.progress import Progress
from autoaccel.training.ranks import Ranks

State = dict[str, Any]
NUMBERS = ("p", "batch_size", "micro_batch", "evaluation_batch", "lr_factor", "seen", "restart")
"""Attributes of a context that are numbers."""


class SnapshotError(RuntimeError):
    """A snapshot does not fit the training that was set up."""


@dataclass(frozen=True)
class Running:
    """The parts of a training that have a state.

    Args:
        context: The training.
        sampler: Its place in the data.
        progress: Its progress.
        best: Its best weights, if they are kept.
    """

    context: TrainingContext
    sampler: BatchSampler
    progress: Progress
    best: Best | None = None


def take(running: Running) -> State:
    """Return the state of a training that has read its progress and not taken the step; tensors are copied."""
    context, best = running.context, running.best
    model, scaler = context.model, context.accelerator.scaler if context.accelerator else None
    live = {
        "form": form_of(model),
        "model": {**dict(model.named_buffers()), **model.state_dict(keep_vars=True)},
        "trained": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "optimizer": _optimizer_state(context.optimizer),
        "scaler": scaler.state_dict() if scaler else None,
        "techniques": [technique.state_dict() for technique in context.techniques],
        "context": {name: getattr(context, name) for name in NUMBERS},
        "variants": dict(context.variants),
        "sample_loss": context.sample_loss,
        "sampler": running.sampler.state_dict(),
        "progress": running.progress.state_dict(),
        "meters": context.meter.state_dict(),
        "random": _random_state(context),
    }
    elsewhere: list[tuple[Any, ...]] = []
    copied = _copied(live, {}, (), elsewhere)
    # The best weights are on the CPU and never change, so they need no copy.
    return {**copied, "elsewhere": elsewhere, "best": None if best is None else best.state_dict(model)}


def restore(running: Running, state: Mapping[str, Any], carried: Cost) -> None:
    """Bring a training that was just set up to a state.

    Args:
        running: A training with the same recipe, seed and task.
        state: What `take` returned; its tensors are moved.
        carried: What the training is charged for until here.

    Raises:
        SnapshotError: If the model that was set up does not take the form of the one in the state.
    """
    context, model = running.context, running.context.model
    for path in state["elsewhere"]:
        _move(state, path, context.device)
    for technique, own in zip(context.techniques, state["techniques"], strict=True):
        technique.resume(context, own)
    shrink(model, {name: part for name, part in state["model"].items() if isinstance(part, Tensor)})
    if form_of(model) != state["form"]:
        raise SnapshotError(
            "the model was changed during training, and its set-up does not change it in the same way"
        )
    load(model, state["model"])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad != state["trained"][name]:
            raise SnapshotError(f"{name} was frozen or released during training, and is not by set-up")
    context.rebuild()  # the optimizer, for parameters that are new since
    _load_optimizer(context.optimizer, state["optimizer"])
    if state["scaler"] and context.accelerator and context.accelerator.scaler:
        context.accelerator.scaler.load_state_dict(state["scaler"])
    for name in NUMBERS:
        setattr(context, name, state["context"][name])
    context.variants.clear()
    context.variants.update(state["variants"])
    context.sample_loss.copy_(state["sample_loss"])
    running.sampler.load_state_dict(state["sampler"])
    if running.best is not None and state["best"] is not None:
        running.best.load_state_dict(state["best"], model)
    context.meter.load_state_dict(state["meters"], carried)
    running.progress.load_state_dict(state["progress"], context.meter.spent())
    _load_random_state(context, state["random"])
    if rank := Ranks().rank:  # the state is the first one's
        again = context.seed + rank + 1_000_003 * int(context.seen)
        set_seed(again)
        context.generator.manual_seed(again)


def _optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """Return the options of each group, and the state of each parameter in the order of the groups.

    torch's own `load_state_dict` casts what it loads to the parameter's dtype, which not every optimizer uses.
    """
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {"groups": groups, "state": [dict(optimizer.state.get(parameter, {})) for parameter in parameters]}


def _load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if len(parameters) != len(saved["state"]) or len(optimizer.param_groups) != len(saved["groups"]):
        raise SnapshotError("the optimizer has other parameters than the one that was set up")
    for group, options in zip(optimizer.param_groups, saved["groups"], strict=True):
        group.update(options)
    optimizer.state.clear()
    optimizer.state.update({p: part for p, part in zip(parameters, saved["state"], strict=True) if part})


def _random_state(context: TrainingContext) -> State:
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(context.device) if context.device.type == "cuda" else None,
        "context": context.generator.get_state(),
        "shared": context.shared.get_state(),
    }


def _load_random_state(context: TrainingContext, state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and context.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], context.device)
    context.generator.set_state(state["context"])
    context.shared.set_state(state["shared"])


def _copied(data: Any, made: dict[int, Tensor], path: tuple[Any, ...], elsewhere: list[tuple[Any, ...]]) -> Any:
    """Return a copy of nested data whose tensors are on the CPU.

    Args:
        data: Tensors and plain values in nested mappings, lists and tuples.
        made: Copies by the ids of the originals: a tensor that is there twice is copied once.
        path: Keys and indices that lead to the data.
        elsewhere: Paths of the tensors that were not on the CPU; extended.
    """
    if isinstance(data, Tensor):
        if data.device.type != "cpu":
            elsewhere.append(path)
        if id(data) not in made:
            made[id(data)] = data.detach().to("cpu", copy=True)
        return made[id(data)]
    if isinstance(data, Mapping):
        return {key: _copied(part, made, (*path, key), elsewhere) for key, part in data.items()}
    if isinstance(data, list):
        return [_copied(part, made, (*path, i), elsewhere) for i, part in enumerate(data)]
    if isinstance(data, tuple):
        return tuple(_copied(part, made, (*path, i), elsewhere) for i, part in enumerate(data))
    return data


def _move(state: Any, path: tuple[Any, ...], device: torch.device) -> None:
    """Move the tensor at a path to a device, unless it is in a tuple, whose parts its owner moves."""
    *before, last = path
    for key in before:
        state = state[key]
    if isinstance(state, dict | list):
        state[last] = state[last].to(device)
