"""The contract of a technique, for authors who offer one under the entry point `autoaccel.techniques`.

from autoaccel.testing import check_technique

def test_mine():
    check_technique("mine", task)
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from autoaccel.core.budget import Budget, Cost
from autoaccel.core.catalog import REFERENCE, Value
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.techniques.base import Technique
from autoaccel.techniques.registry import build, classes
from autoaccel.training.build import prepare_context, set_up
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.prepare import build_model
from autoaccel.training.data.task import Task
from autoaccel.training.evaluate import Score, evaluate, score
from autoaccel.training.finalize import finalize
from autoaccel.training.loop import Milestones, train
from autoaccel.training.meters.flops import Meter
from autoaccel.training.meters.progress import Progress


def check_technique(name: str, task: Task, parameters: Mapping[str, Value] | None = None, steps: int = 12) -> None:
    """Train a few steps with plain training and one technique, and hold it to what every technique promises.

    Args:
        name: The technique; one of a component replaces what plain training has there.
        task: A small task that offers what it needs.
        parameters: Its parameters; the defaults when missing.
        steps: Optimizer steps, with an evaluation at half of them and at the end.

    Raises:
        AssertionError: It does not train to a finite loss, is not charged, changes the weights that are trained
            on by being judged, has state that `state_dict` does not carry, or leaves weights that a fresh model
            of the user's factory does not load, or that do not score what was judged.
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
    """Plain training with one technique, at a constant learning rate if it cannot live with one that decays."""
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
    before = {key: tensor.clone() for key, tensor in context.model.state_dict().items()}
    with technique.evaluate(context):
        pass
    after = context.model.state_dict()
    changed = [key for key, tensor in after.items() if not torch.equal(tensor, before[key])]
    assert not changed, f"{technique.info.name}: `evaluate` left {', '.join(changed)} changed"


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
    delivered = TrainingContext(fresh, context.data, (), Meter(fresh, SimulatedClock(), 0.0), 0, context.device)
    loss = score(delivered, context.data.valid).loss
    # What is merged or stored in another format may differ in the last digits.
    assert math.isclose(loss, evaluated.loss, rel_tol=1e-3, abs_tol=1e-5), (
        f"{technique.info.name}: judged with a loss of {evaluated.loss}, but its saved weights have {loss}"
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
    # Accelerate keeps its state for the whole process; in a run every trial has a process of its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
