"""The contract of a technique."""

from __future__ import annotations

import io
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
from autoaccel.training.loop import Keeper, Milestones, train
from autoaccel.training.meters.meters import Meters
from autoaccel.training.meters.progress import Progress
from autoaccel.training.scores import Score
from autoaccel.training.snapshot import Running, restore, take


def check_technique(name: str, task: Task, parameters: Mapping[str, Value] | None = None, steps: int = 12) -> None:
    """Train a few steps with the plain recipe and one technique, and check that it keeps its contract.

    Args:
        name: The technique. An optimizer, learning rate or batch size replaces that of the plain recipe.
        task: A small task that offers what it needs.
        parameters: Its parameters; the defaults when missing.
        steps: Optimizer steps, with an evaluation at half of them and at the end.

    Raises:
        AssertionError: If it does not train to a finite loss, its FLOPs are not charged, an evaluation changes the
            weights, a training that goes on from a snapshot ends with other weights, or the saved weights do not
            load into a fresh model of the user's factory or do not score what was evaluated.
    """
    with _fresh_process_state():
        kept = _Kept(2 * steps // 3)
        context, scores = _trained(name, task, parameters or {}, steps, kept)
        technique = next(t for t in context.techniques if t.info.name == name)
        assert all(math.isfinite(score.loss) for score in scores), f"{name}: the loss is not finite"
        assert context.meter.spent().flops > 0, f"{name}: its FLOPs are not charged"
        resumed, again = _trained(name, task, parameters or {}, steps, _Resumed(kept.state))
        _check_resumed(resumed, context)
        assert again[-1] == scores[-1], f"{name}: resumed, the training ends with {again[-1]}, not {scores[-1]}"
        _check_evaluation(context, technique)
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


class _Kept(Keeper):
    """Keeps what a file would hold of the training before a step."""

    def __init__(self, at: int):
        self._left = at
        self.state = b""

    def begin(self, running: Running) -> None:
        self._running = running

    def before_step(self) -> None:
        if self._left == 0:
            file = io.BytesIO()
            torch.save(take(self._running), file)
            self.state = file.getvalue()
        self._left -= 1


class _Resumed(Keeper):
    """Goes on from such a state."""

    def __init__(self, state: bytes):
        self._state = state

    def begin(self, running: Running) -> None:
        state = torch.load(io.BytesIO(self._state), weights_only=True)
        restore(running, state, Cost(state["meters"]["spent"]))


def _trained(
    name: str, task: Task, parameters: Mapping[str, Value], steps: int, keeper: Keeper
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
    train(context, progress, Milestones((0.5, 1.0), 0, report), seed=0, keeper=keeper)
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


def _check_resumed(resumed: TrainingContext, unbroken: TrainingContext) -> None:
    found, weights = _tensors(resumed.model), _tensors(unbroken.model)
    other = [key for key in weights.keys() | found.keys() if not _equal(weights.get(key), found.get(key))]
    assert not other, f"resumed, the training ends with another {', '.join(sorted(other)[:3])}"
    spent, cost = resumed.meter.spent(), unbroken.meter.spent()
    assert spent == cost, f"resumed, the training costs {spent}, not {cost}"


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


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


@contextmanager
def _fresh_process_state() -> Iterator[None]:
    # Accelerate keeps its state for the whole process. In a run, each trial has a process of its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        yield
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
