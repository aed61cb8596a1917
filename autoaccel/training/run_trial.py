"""Run one trial in the current process, from its request to its outcome; exceptions become outcomes."""

from __future__ import annotations

import gc
import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import REFERENCE
from autoaccel.core.clock import Clock
from autoaccel.core.quantities import COUNTS, Cost
from autoaccel.core.trial import Outcome, OutcomeKind, Reference, Report, TrialRequest, final_milestones
from autoaccel.errors import TaskError, UsageError, suggestion
from autoaccel.techniques.base import Technique
from autoaccel.techniques.registry import build
from autoaccel.training.best import Best
from autoaccel.training.build import prepare_context, set_up
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.capabilities import CAPABILITIES, WHY, task_capabilities
from autoaccel.training.data.discovery import user_line
from autoaccel.training.data.prepare import build_model
from autoaccel.training.data.scaling import fold, last_layer
from autoaccel.training.data.sources import FEW
from autoaccel.training.data.task import Task
from autoaccel.training.data.understanding import Understanding
from autoaccel.training.evaluate import expected_cost
from autoaccel.training.finalize import finalize
from autoaccel.training.folds import run_folds
from autoaccel.training.footprint import measure
from autoaccel.training.loop import Milestones, NotFiniteError, train
from autoaccel.training.meters.meters import OverspentError
from autoaccel.training.meters.progress import Progress
from autoaccel.training.scores import Score

WEIGHTS = "model.safetensors"
LATE = 0.5
"""Progress from which a training that diverges delivers its best weights; before, what is left pays for another."""


@dataclass(frozen=True)
class TrialEnvironment:
    """What a trial needs besides its request.

    Args:
        clock: Measures the seconds.
        started: The clock's reading when the request arrived.
        report: Called with every evaluation; returns whether the trial may continue.
        folder: Folder in which the weights are saved; None saves none.
        split_seed: Seed of the validation split.
        cpu: Whether to use the CPU even if there is a GPU.
        stopped: Returns whether the trial must stop before its next step.
        finishing: Returns whether the trial must finish early: run its schedules to their end, then complete.
        found: What the run's profile has understood of the task, or None.
    """

    clock: Clock
    started: float
    report: Callable[[Report], bool]
    folder: Path | None = None
    split_seed: int = 0
    cpu: bool = False
    stopped: Callable[[], bool] = lambda: False
    finishing: Callable[[], bool] = lambda: False
    found: Understanding | None = None


def run_trial(task: Task, request: TrialRequest, environment: TrialEnvironment) -> Outcome:
    """Train one recipe with one budget.

    Args:
        task: The task to train on.
        request: The recipe, its budget and its seed.
        environment: Clock, folder and callbacks.

    Returns:
        The outcome. A recipe that runs out of memory, diverges or spends its whole budget on setup is infeasible;
        any other exception makes it failed, with the line of the user's code.
    """
    if request.folds < 2:
        return _run(task, request, environment)

    def run_fold(part: TrialRequest, found: Understanding, number: int) -> Outcome:
        now, folder = environment.clock.now(), None if number else environment.folder
        own = replace(environment, started=now, found=found, folder=folder, report=lambda _: True)
        return _run(task, part, own)

    try:
        return run_folds(task, request, environment.found, environment.split_seed, run_fold, environment.report)
    except (TaskError, UsageError) as error:
        return Outcome(OutcomeKind.FAILED, _cost(Cost(), environment), reason=str(error))


def _run(task: Task, request: TrialRequest, environment: TrialEnvironment) -> Outcome:
    """Train one recipe with one budget and one split."""
    spent = Cost()
    first_step = 0.0
    try:
        context = _prepare(task, request, environment)
        try:
            with context.meter.setting_up(request.budget.resolve(len(context.data.train))):
                set_up(context, environment.cpu)
            first_step = context.meter.seconds()
            return replace(_train(task, context, request, environment), first_step=first_step)
        finally:
            spent = context.meter.spent()
            context.loader = None  # ends its worker processes
            gc.unfreeze()
    except (NotFiniteError, OverspentError, torch.OutOfMemoryError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else "out of memory"
        return Outcome(OutcomeKind.INFEASIBLE, _cost(spent, environment), reason=reason, first_step=first_step)
    except (TaskError, UsageError) as error:
        return Outcome(OutcomeKind.FAILED, _cost(spent, environment), reason=str(error), first_step=first_step)
    except Exception as error:  # user code may raise anything, and the run must go on
        if "out of memory" in str(error).lower():
            return Outcome(OutcomeKind.INFEASIBLE, _cost(spent, environment), reason="out of memory")
        traceback.print_exc()  # goes to the trial's log
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Outcome(OutcomeKind.FAILED, _cost(spent, environment), reason=reason, where=user_line(error))


def _cost(spent: Cost, environment: TrialEnvironment) -> Cost:
    return spent.replace(seconds=environment.clock.now() - environment.started)


def _prepare(task: Task, request: TrialRequest, environment: TrialEnvironment) -> TrainingContext:
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


def _measured(context: TrainingContext, request: TrialRequest) -> TrialRequest:
    """Return a request that comes without a profile with what to reserve for its evaluations and its end."""
    evaluation, finalization = request.evaluation, request.finalization
    if evaluation == Cost() and not COUNTS.issuperset(request.budget):
        evaluation, error = expected_cost(context, context.data.valid)
        finalization = finalization + error
        if request.test and context.data.test is not None:
            finalization = finalization + (evaluation + error) * (len(context.data.test) / len(context.data.valid))
    milestones = request.milestones or final_milestones(_evaluating(context, request.budget, evaluation))
    return replace(request, evaluation=evaluation, finalization=finalization, milestones=milestones)


def _evaluating(context: TrainingContext, budget: Budget, evaluation: Cost) -> float:
    """Return about which share of a budget an evaluation takes."""
    limits = budget.resolve(len(context.data.train))
    trained = min(limits.get("samples", math.inf), limits.get("steps", math.inf) * context.batch_size)
    # An evaluation counts as no step, but takes at most as long as training on as many samples.
    return max(limits.share(evaluation), len(context.data.valid) / trained)


def _progress(context: TrainingContext, request: TrialRequest, finishing: Callable[[], bool]) -> Progress:
    evaluation, finalization = request.evaluation, request.finalization
    # Evaluation and finalization both enter the techniques' `evaluate`, which may run training samples itself.
    count = len(context.data.train)
    # A stream may have no length.
    samples = sum(min(technique.evaluation_samples(context), count or math.inf) for technique in context.techniques)
    entering = evaluation * (samples / (request.valid_samples or len(context.data.valid)))
    return Progress(
        budget=request.budget.resolve(count),
        setup=context.meter.spent(),
        evaluation=evaluation + entering,
        evaluations=len(request.milestones) + request.keep_best,  # the best weights are scored again
        finalization=finalization + entering,
        step=request.step,
        finishing=finishing,
    )


def _train(task: Task, context: TrainingContext, request: TrialRequest, environment: TrialEnvironment) -> Outcome:
    reports: list[Report] = []

    def report(milestone: int, found: Score, cost: Cost) -> bool:
        made = Report(request.trial, milestone, context.p, found.metric, found.loss, found.standard_error, cost)
        reports.append(made)
        return environment.report(made)

    request = _measured(context, request)
    progress = _progress(context, request, environment.finishing)
    best = Best(context.data.metric.maximize) if request.keep_best else None
    milestones = Milestones(request.milestones, request.valid_samples, report, environment.stopped, best)
    # Exempt existing objects from garbage collection: scanning them pauses training and frees almost nothing.
    gc.freeze()
    reason = ""
    try:
        if train(context, progress, milestones, request.seed) is None:
            return Outcome(OutcomeKind.PRUNED, context.meter.spent(), reason="stopped")
    except NotFiniteError as error:
        if best is None or best.score is None or context.p < LATE:
            raise
        reason = f"{error}; the weights after {best.at:.0%} are kept"
    path = None if environment.folder is None else environment.folder / WEIGHTS
    tested = finalize(context, path, request.test, best, request.valid_samples)
    test = {} if tested is None else asdict(tested)
    measured = measure(task, request, path, context) if request.measure and path is not None else {}
    spent, metric = context.meter.spent(), context.data.metric.name
    if progress.finishing_early and not reason:
        reason = "asked to finish early"
    final, last = reports[-1], None
    if best is not None and best.score is not None:
        chosen = next(made for made in reversed(reports) if made.progress == best.at)
        final, last = replace(chosen, **asdict(best.score)), reports[-1] if best.earlier and best.last else None
    return Outcome(OutcomeKind.COMPLETE, spent, final, test, reason, metric=metric, last=last, measured=measured)
