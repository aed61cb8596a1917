"""One trial from its request to its outcome, in whatever process it runs. Faults become outcomes here."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from autoaccel.core.budget import Cost
from autoaccel.core.catalog import REFERENCE
from autoaccel.core.clock import Clock
from autoaccel.core.trial import Outcome, OutcomeKind, Reference, Report, TrialRequest
from autoaccel.errors import TaskError, UsageError
from autoaccel.techniques.base import Technique
from autoaccel.techniques.registry import build
from autoaccel.training.build import prepare_context, set_up
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.capabilities import CAPABILITIES, task_capabilities
from autoaccel.training.data.discovery import user_line
from autoaccel.training.data.prepare import build_model
from autoaccel.training.data.task import Task
from autoaccel.training.evaluate import Score, expected_cost
from autoaccel.training.finalize import finalize
from autoaccel.training.loop import Milestones, NotFiniteError, train
from autoaccel.training.meters.flops import OverspentError
from autoaccel.training.meters.progress import Progress

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class TrialEnvironment:
    """What a trial needs beside its request.

    Args:
        clock: Counts the seconds.
        started: Its reading when the request arrived.
        report: Told of every evaluation; returns whether the trial may go on.
        folder: Where weights are saved; None saves none.
        split_seed: Decides the validation split.
        cpu: Use the CPU even where there is a GPU.
        stopped: Whether the trial was asked to end at its next step.
        finishing: Whether the trial was asked to finish early to the end of its schedules, and to be complete then.
    """

    clock: Clock
    started: float
    report: Callable[[Report], bool]
    folder: Path | None = None
    split_seed: int = 0
    cpu: bool = False
    stopped: Callable[[], bool] = lambda: False
    finishing: Callable[[], bool] = lambda: False


def run_trial(task: Task, request: TrialRequest, environment: TrialEnvironment) -> Outcome:
    """Train one recipe with one budget.

    Args:
        task: What to train.
        request: How, and with how much.
        environment: Clock, folder and listener.

    Returns:
        How it ended. A recipe that does not fit or diverges is infeasible; anything else that is raised is a
        failure with the user's line.
    """
    spent = Cost()
    first_step = 0.0
    try:
        context = _prepare(task, request, environment)
        try:
            with context.meter.setting_up(request.budget.resolve(len(context.data.train))):
                set_up(context, environment.cpu)
            first_step = context.meter.seconds()
            return replace(_train(context, request, environment), first_step=first_step)
        finally:
            spent = context.meter.spent()
            context.loader = None  # its processes end with it
            gc.unfreeze()
    except (NotFiniteError, OverspentError, torch.OutOfMemoryError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else "out of memory"
        return Outcome(OutcomeKind.INFEASIBLE, _cost(spent, environment), reason=reason, first_step=first_step)
    except (TaskError, UsageError) as error:
        return Outcome(OutcomeKind.FAILED, _cost(spent, environment), reason=str(error), first_step=first_step)
    except Exception as error:  # the user's code may raise anything, and the run has to go on
        if "out of memory" in str(error).lower():
            return Outcome(OutcomeKind.INFEASIBLE, _cost(spent, environment), reason="out of memory")
        traceback.print_exc()  # into the trial's log
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Outcome(OutcomeKind.FAILED, _cost(spent, environment), reason=reason, where=user_line(error))


def _cost(spent: Cost, environment: TrialEnvironment) -> Cost:
    return replace(spent, seconds=environment.clock.now() - environment.started)


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
    )
    _check_requirements(task, techniques, context, request.reference)
    if request.reference is not None:
        context.teacher = _finished_model(task, request.reference, context, environment)
    context.micro_batch = request.micro_batch
    return context


def _check_requirements(
    task: Task, techniques: Sequence[Technique], context: TrainingContext, reference: Reference | None
) -> None:
    """A recipe that was not drawn for this task may ask for what the task does not offer."""
    asked = CAPABILITIES.keys() & {need for technique in techniques for need in technique.info.requires}
    offered = task_capabilities(task, context.data, context.model, asked)
    for technique in techniques:
        if missing := (technique.info.requires & asked) - offered:
            words = " and ".join(sorted(missing)).replace("_", " ")
            raise UsageError(f"{technique.info.name} needs {words}, which this task does not offer")
        if REFERENCE in technique.info.requires and reference is None:
            raise UsageError(f"{technique.info.name} learns from a finished model: train(..., reference=RUN)")


def _finished_model(
    task: Task, reference: Reference, context: TrainingContext, environment: TrialEnvironment
) -> torch.nn.Module:
    """The model that a finished trial left behind, in eval mode."""
    path = Path(reference.weights)
    if not reference.weights and environment.folder is not None:
        path = environment.folder.parent / f"{reference.trial:04d}" / WEIGHTS
    if not path.is_file():
        raise UsageError(f"the finished model to learn from is not at {path}")
    with torch.random.fork_rng(devices=[]):
        model = build_model(task, reference.recipe.model)
    load_weights(model, path)
    return model.to(context.device).eval().requires_grad_(False)


def _progress(context: TrainingContext, request: TrialRequest, finishing: Callable[[], bool]) -> Progress:
    evaluation, finalization = request.evaluation, request.finalization
    if evaluation == Cost() and not request.budget.limits().keys().isdisjoint(("seconds", "flops")):
        # A request without a profile: what is set aside for the end is measured here.
        evaluation = expected_cost(context, context.data.valid)
        if request.test and context.data.test is not None:
            finalization = finalization + evaluation * (len(context.data.test) / len(context.data.valid))
    # Both enter the techniques' `evaluate`, which may have samples of its own to see.
    count = len(context.data.train)
    samples = sum(min(technique.evaluation_samples(context), count) for technique in context.techniques)
    entering = evaluation * (samples / (request.valid_samples or len(context.data.valid)))
    return Progress(
        budget=request.budget.resolve(count),
        setup=context.meter.spent(),
        evaluation=evaluation + entering,
        evaluations=len(request.milestones),
        finalization=finalization + entering,
        finishing=finishing,
    )


def _train(context: TrainingContext, request: TrialRequest, environment: TrialEnvironment) -> Outcome:
    reports: list[Report] = []

    def report(milestone: int, found: Score, cost: Cost) -> bool:
        made = Report(request.trial, milestone, context.p, found.metric, found.loss, found.standard_error, cost)
        reports.append(made)
        return environment.report(made)

    progress = _progress(context, request, environment.finishing)
    milestones = Milestones(request.milestones, request.valid_samples, report, environment.stopped)
    # A pause of the garbage collector in mid-training costs more than the few cycles that training leaves.
    gc.freeze()
    last = train(context, progress, milestones, request.seed)
    if last is None:
        return Outcome(OutcomeKind.PRUNED, context.meter.spent(), reason="stopped")
    path = None if environment.folder is None else environment.folder / WEIGHTS
    tested = finalize(context, path, request.test)
    test = {} if tested is None else asdict(tested)
    spent, metric = context.meter.spent(), context.data.metric.name
    reason = "asked to finish early" if progress.finishing_early else ""
    return Outcome(OutcomeKind.COMPLETE, spent, reports[-1], test, reason, metric=metric)
