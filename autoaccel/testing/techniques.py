"""The contract of a technique."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import REFERENCE
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.schedules import Value
from autoaccel.techniques.base import Technique
from autoaccel.techniques.registry import build, classes
from autoaccel.training.build import prepare_context, set_up
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.prepare import build_model
from autoaccel.training.data.task import Task
from autoaccel.training.evaluate import evaluate, score
from autoaccel.training.finalize import finalize
from autoaccel.training.loop import Milestones, train
from autoaccel.training.meters.meters import Meters
from autoaccel.training.meters.progress import Progress
from autoaccel.training.scores import Score


def check_technique(name: str, task: Task, parameters: Mapping[str, Value] | None = None, steps: int = 12) -> None:
    """Train a few steps with the plain recipe and one technique, and check that it keeps its contract.

    Args:
        name: The technique. An optimizer, learning rate or batch size replaces that of the plain recipe.
        task: A small task that offers what it needs.
        parameters: Its parameters; the defaults when missing.
        steps: Optimizer steps, with an evaluation at half of them and at the end.

    Raises:
        AssertionError: If it does not train to a finite loss, its FLOPs are not charged, an evaluation changes the
            weights, `state_dict` lacks some of its state, or the saved weights do not load into a fresh model of
            the user's factory or do not score what was evaluated.
    """
    with _fresh_process_state():
        context, scores = _trained(name, task, parameters or {}, steps)
        technique = next(t for t in context.techniques if t.info.name == name)
        assert all(math.isfinite(score.loss) for score in scores), f"{name}: the loss is not finite"
        assert context.meter.spent().flops > 0, f"{name}: its FLOPs are not charged"
        _check_evaluation(context, technique)
        _check_state(technique)
        _check_delivery(context, task, technique)


def alone(name: str, parameters: Mapping[str, Value]) -> Recipe:
    """Return the plain recipe with one technique; its learning rate is constant if a decay would conflict."""
    component = classes()[name].info.component
    chosen: dict[str, Any] = (
        {component: Choice(name, parameters)} if component else {"techniques": {name: parameters}}
    )
    if "anneals" in classes()[name].info.conflicts:
        chosen["learning_rate"] = Choice("constant")
    return Recipe(**chosen)


def _trained(
    name: str, task: Task, parameters: Mapping[str, Value], steps: int
) -> tuple[TrainingContext, list[Score]]:
    techniques = build(alone(name, parameters).chosen())
    context = prepare_context(task, techniques, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    if REFERENCE in classes()[name].info.requires:
        context.teacher = build_model(task, {}).eval().requires_grad_(False)
    set_up(context, cpu=True)
    scores: list[Score] = []

    def report(index: int, score: Score, cost: Cost) -> bool:
        scores.append(score)
        return True

    progress = Progress(Budget(steps=steps), context.meter.spent(), Cost(), 2, Cost())
    train(context, progress, Milestones((0.5, 1.0), 0, report), seed=0)
    return context, scores


def _check_evaluation(context: TrainingContext, technique: Technique) -> None:
    before = {key: tensor.clone() for key, tensor in _tensors(context.model).items()}
    with technique.evaluate(context):
        pass
    after = _tensors(context.model)
    changed = [key for key, tensor in after.items() if not torch.equal(tensor, before[key])]
    assert not changed, f"{technique.info.name}: `evaluate` left {', '.join(changed)} changed"


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the state that can be compared: neither sparse nor extra state that is no tensor."""
    return {k: t for k, t in model.state_dict().items() if isinstance(t, Tensor) and t.layout is torch.strided}


def _check_state(technique: Technique) -> None:
    state = technique.state_dict()
    parameters = {key: getattr(technique, key) for key in technique.info.parameters}
    again = type(technique)(**parameters)
    again.load_state_dict(state)
    assert _same(vars(again), vars(technique)), (
        f"{technique.info.name}: `state_dict` does not carry all of its state"
    )


def _check_delivery(context: TrainingContext, task: Task, technique: Technique) -> None:
    evaluated = evaluate(context, context.data.valid)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        finalize(context, path, test=False)
        fresh = build_model(task, {})
        load_weights(fresh, path)
    delivered = TrainingContext(fresh, context.data, (), Meters(fresh, SimulatedClock(), 0.0), 0, context.device)
    loss = score(delivered, context.data.valid).loss
    # Merging weights or storing them in another format may change the last digits.
    assert math.isclose(loss, evaluated.loss, rel_tol=1e-3, abs_tol=1e-5), (
        f"{technique.info.name}: evaluated with a loss of {evaluated.loss}, but its saved weights have {loss}"
    )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


@contextmanager
def _fresh_process_state() -> Iterator[None]:
    # Accelerate keeps its state for the whole process. In a run, each trial has a process of its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        yield
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
