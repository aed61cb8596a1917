"""Build what a trial trains with, and refuse recipes that the task cannot be trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from autoaccel.core.catalog import REFERENCE
from autoaccel.core.trial import Reference, TrialRequest
from autoaccel.errors import UsageError, suggestion
from autoaccel.techniques.base import Technique
from autoaccel.techniques.registry import build
from autoaccel.training.build import prepare_context
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.capabilities import CAPABILITIES, WHY, task_capabilities
from autoaccel.training.data.prepare import build_model
from autoaccel.training.data.scaling import fold, last_layer
from autoaccel.training.data.sources import FEW
from autoaccel.training.data.task import Task
from autoaccel.training.trial_environment import WEIGHTS, TrialEnvironment


def prepare_trial(task: Task, request: TrialRequest, environment: TrialEnvironment) -> TrainingContext:
    """Build the model, the data and the context of a trial, before any technique runs.

    Raises:
        TaskError: If the task cannot be trained.
        UsageError: If the recipe or the budget does not suit the task.
    """
    techniques = build(request.recipe.chosen())
    context = prepare_context(
        task,
        techniques,
        request.recipe.model,
        request.seed,
        environment.split_seed,
        environment.clock,
        environment.started,
        environment.cpu,
        environment.found,
    )
    _check_requirements(task, techniques, context, request.reference)
    measured = context.meter.spent()
    if unmeasured := [name for name in request.budget if name not in measured and name != "epochs"]:
        raise UsageError(
            f"no meter measures {unmeasured[0]}, only {', '.join(measured)}{suggestion(unmeasured[0], measured)}"
        )
    if "epochs" in request.budget and not len(context.data.train):
        raise UsageError("a budget in epochs needs the length of a pass, and this stream has none")
    if request.reference is not None:
        context.teacher = _finished_model(task, request.reference, context, environment)
    context.micro_batch = request.micro_batch
    return context


def _check_requirements(
    task: Task, techniques: Sequence[Technique], context: TrainingContext, reference: Reference | None
) -> None:
    """Raise UsageError if a recipe requires what the task lacks; recipes from elsewhere may not suit this task."""
    asked = CAPABILITIES.keys() & {need for technique in techniques for need in technique.info.requires}
    offered = task_capabilities(task, context.data, context.model, asked)
    for technique in techniques:
        if missing := sorted((technique.info.requires & asked) - offered):
            words = " and ".join(missing).replace("_", " ")
            why = "; ".join(WHY[name] for name in missing if name in WHY) or "this task does not offer that"
            raise UsageError(f"{technique.info.name} needs {words}: {_naming(why, context)}")
        if REFERENCE in technique.info.requires and reference is None:
            raise UsageError(f"{technique.info.name} learns from a finished model: train(..., reference=RUN)")


def _naming(why: str, context: TrainingContext) -> str:
    own = context.data.batches or context.data.order
    return why.replace("a sampler of yours, or a stream,", f"your {type(own).__name__}") if own is not None else why


def _finished_model(
    task: Task, reference: Reference, context: TrainingContext, environment: TrialEnvironment
) -> torch.nn.Module:
    """Return the model of a finished trial, in eval mode and without gradients."""
    path = Path(reference.weights)
    if not reference.weights and environment.folder is not None:
        path = environment.folder.parent / f"{reference.trial:04d}" / WEIGHTS
    if not path.is_file():
        raise UsageError(f"the finished model to learn from is not at {path}")
    with torch.random.fork_rng(devices=[]):
        model = build_model(task, reference.recipe.model)
    load_weights(model, path)
    model.to(context.device)
    if (scaling := context.data.objective.scaling) is not None:
        # Finished models answer in the units of the targets, and this training is on standardized ones.
        layer = last_layer(model, next(context.training_batches(FEW)), trained=False)
        if layer is None:
            raise UsageError(f"the scaling of the targets cannot be undone in the finished model at {path}")
        fold(layer, scaling.inverse())
    return model.eval().requires_grad_(False)
