"""Run one trial in the current process, from its request to its outcome; exceptions become outcomes."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import COUNTS, Cost
from autoaccel.core.trial import LATE, Outcome, OutcomeKind, Purpose, Report, TrialRequest, final_milestones
from autoaccel.errors import TaskError, UsageError
from autoaccel.training.best import Best
from autoaccel.training.build import set_up
from autoaccel.training.checkpointer import Checkpointer, log
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.task import Task
from autoaccel.training.data.understanding import Understanding
from autoaccel.training.evaluate import expected_cost
from autoaccel.training.failures import NotFiniteError, failure_of, together
from autoaccel.training.finish_trial import Trained, finish
from autoaccel.training.folds import run_folds
from autoaccel.training.loop import Keeper, Milestones, train
from autoaccel.training.meters.progress import Progress
from autoaccel.training.pacer import Pacer
from autoaccel.training.prepare_trial import prepare_trial
from autoaccel.training.scores import Score
from autoaccel.training.shares import check_shares
from autoaccel.training.snapshot import SnapshotError
from autoaccel.training.trial_environment import TrialEnvironment

FAR = 0.9
"""Progress at which a training ends that measures its steps."""


def run_trial(task: Task, request: TrialRequest, environment: TrialEnvironment) -> Outcome:
    """Train one recipe with one budget.

    Args:
        task: The task to train on.
        request: The recipe, its budget and its seed.
        environment: Clock, folder and callbacks.

    Returns:
        The outcome. A recipe that runs out of memory, diverges or spends its whole budget on setup is infeasible;
        one that memory no longer suffices for while other processes wait is lost, as if a process had died; any
        other exception makes it failed, with the line of the user's code.
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
    # The seconds of a training that goes on are those of all processes that it was in.
    environment = replace(environment, started=environment.started - request.carried.seconds)
    try:
        return _attempt(task, request, environment)
    except SnapshotError as error:
        log(f"the checkpoint does not fit: {error}; the training begins again")
        return _attempt(task, replace(request, resumes=None), environment)


def _attempt(task: Task, request: TrialRequest, environment: TrialEnvironment) -> Outcome:
    spent = Cost()
    first_step = 0.0
    try:
        context = prepare_trial(task, request, environment)
        try:
            with context.meter.setting_up(request.budget.resolve(len(context.data.train))):
                set_up(context, environment.cpu)
                check_shares(context)
            context.meter.settle()
            first_step = context.meter.seconds() - request.carried.seconds
            if request.purpose is Purpose.PACE:
                return _paced(context, request, environment)
            return replace(_train(task, context, request, environment), first_step=first_step)
        finally:
            spent = context.meter.spent()
            context.loader = None  # ends its worker processes
            gc.unfreeze()
    except SnapshotError:
        raise
    except Exception as error:  # user code may raise anything, and the run must go on
        failure = failure_of(error)
        if failure.trace:
            log(failure.trace)
        cost = _cost(spent, environment)
        return Outcome(failure.kind, cost, reason=failure.reason, where=failure.where, first_step=first_step)


def _cost(spent: Cost, environment: TrialEnvironment) -> Cost:
    return spent.replace(seconds=environment.clock.now() - environment.started)


def _measured(context: TrainingContext, request: TrialRequest) -> TrialRequest:
    """Return a request that comes without a profile with what to reserve for its evaluations and its end."""
    evaluation, finalization = request.evaluation, request.finalization
    if evaluation == Cost() and not COUNTS.issuperset(request.budget):
        # Each reads its own clock, and all must evaluate alike.
        evaluation, error = together(lambda: expected_cost(context, context.data.valid))[0]
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
        if checkpointer is not None and milestone < len(request.milestones) - 1:
            checkpointer.at_report()
        return environment.report(made)

    request = _measured(context, request)
    progress = _progress(context, request, environment.finishing)
    best = Best(context.data.metric.maximize) if request.keep_best else None
    checkpointer = None
    if environment.folder is not None:
        checkpointer = Checkpointer(environment.folder, request, reports, environment.report)
    milestones = Milestones(
        request.milestones, request.valid_samples, report, environment.stopped, best, request.rescue
    )
    # Exempt existing objects from garbage collection: scanning them pauses training and frees almost nothing.
    gc.freeze()
    reason = ""
    try:
        if train(context, progress, milestones, request.seed, checkpointer or Keeper()) is None:
            return _stopped(context, request, environment, checkpointer)
    except NotFiniteError as error:
        if best is None or best.score is None or context.p < LATE:
            raise
        reason = f"{error}; the weights after {best.at:.0%} are kept"
    finally:
        if checkpointer is not None:
            checkpointer.close()
    if request.rescue and best is not None:
        reason = f"cut off; the weights after {best.at:.0%} are kept"
    if progress.finishing_early and not reason:
        reason = "asked to finish early"
    return finish(task, context, request, environment, Trained(reports, best, progress.evaluation, reason))


def _paced(context: TrainingContext, request: TrialRequest, environment: TrialEnvironment) -> Outcome:
    """Take a few steps, and say how long they take."""
    pacer = Pacer(environment.clock, context.device)
    # It ends before its budget does, and is not evaluated.
    milestones = Milestones((math.inf,), 0, lambda *_: True, lambda: context.p >= FAR or environment.stopped())
    train(context, _progress(context, request, environment.finishing), milestones, request.seed, pacer)
    if context.p < FAR or environment.finishing():  # that says nothing of how long steps take
        kind = OutcomeKind.PREEMPTED if environment.preempted() else OutcomeKind.PRUNED
        return Outcome(kind, context.meter.spent(), reason="stopped")
    reason = f"{1000 * pacer.pace:.3g} ms a step" if pacer.pace else "too few steps to tell how long they take"
    return Outcome(OutcomeKind.COMPLETE, context.meter.spent(), reason=reason, pace=pacer.pace)


def _stopped(
    context: TrainingContext,
    request: TrialRequest,
    environment: TrialEnvironment,
    checkpointer: Checkpointer | None,
) -> Outcome:
    if request.rescue:
        reason = "its checkpoint holds no weights that can be delivered"
        return Outcome(OutcomeKind.FAILED, context.meter.spent(), reason=reason)
    if not environment.preempted():
        return Outcome(OutcomeKind.PRUNED, context.meter.spent(), reason="stopped")
    saved = checkpointer.make_now() if checkpointer is not None else Cost()
    return Outcome(OutcomeKind.PREEMPTED, context.meter.spent(), reason="the run was asked to end", saved=saved)
