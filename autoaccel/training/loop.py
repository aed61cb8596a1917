"""The training loop: update progress, call the hooks, take the steps, and evaluate at the milestones.

Techniques never save or evaluate; the training does both, within their `evaluate` contexts.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from autoaccel.core.quantities import Cost
from autoaccel.techniques.base import Batch, OptimizerTechnique, Technique
from autoaccel.training.batches import BatchSampler
from autoaccel.training.best import Best
from autoaccel.training.context import TrainingContext
from autoaccel.training.device import out_of_memory
from autoaccel.training.evaluate import evaluated_weights, score
from autoaccel.training.failures import GrownError, NotFiniteError
from autoaccel.training.gradients import accumulate, average
from autoaccel.training.meters.base import OverspentError
from autoaccel.training.meters.progress import Progress
from autoaccel.training.ranks import Ranks
from autoaccel.training.scores import Score
from autoaccel.training.sizes import Sizes
from autoaccel.training.snapshot import Running

CHECK_EVERY = 50
"""Steps between two checks that the loss is finite: each check synchronizes with the device."""


class Keeper:
    """Keeps the state of a training; this one keeps nothing."""

    def begin(self, running: Running) -> None:
        """Called before the first step; it may bring the training to the state of an earlier one."""

    def before_step(self) -> None:
        """Called before each step, after progress was read."""


@dataclass(frozen=True)
class Milestones:
    """When to evaluate a training, and on how many samples.

    Args:
        shares: Progress at each evaluation, ascending; the last is 1.
        samples: Number of validation samples to use; 0 for all.
        report: Called with the milestone's index, its score and the cost so far; returns whether to continue.
        stopped: Called before every step; returns whether to stop.
        best: Keeps the best weights; None if the last ones are the result.
        rescue: Whether no step is taken, and the best weights of the training that is gone on with are the result.
    """

    shares: Sequence[float]
    samples: int
    report: Callable[[int, Score, Cost], bool]
    stopped: Callable[[], bool] = lambda: False
    best: Best | None = None
    rescue: bool = False


def train(
    context: TrainingContext,
    progress: Progress,
    milestones: Milestones,
    seed: int,
    keeper: Keeper = Keeper(),  # noqa: B008
) -> Score | None:
    """Train until the budget is spent.

    Args:
        context: The assembled training.
        progress: Converts the cost so far to progress.
        milestones: When to evaluate.
        seed: Seed of the order of the samples.
        keeper: Keeps the state of the training, for another process to go on from.

    Returns:
        The last score, or None if the training was stopped early.

    Raises:
        NotFiniteError: If the loss diverges.
        OverspentError: If the budget leaves no room for a single step.
    """
    ranks = Ranks()
    take_step = Step(context)
    shares = list(milestones.shares)
    sampler = BatchSampler(context, seed, ranks.rank, ranks.world)
    context.model.train()
    keeper.begin(Running(context, sampler, progress, milestones.best))
    if milestones.rescue:
        return milestones.best.score if milestones.best else None
    reached = bisect_right(shares, progress.p)
    for batch in sampler:
        stop = _agreed(progress, context, milestones, ranks)
        if context.p == 1 and not context.seen:  # an untrained model is no result
            if progress.finishing_early:
                return None
            raise OverspentError(f"set-up and evaluation leave nothing of {progress.budget} for a step")
        passed = bisect_right(shares, context.p)
        last = passed == len(shares)
        # A training that finishes early is soon at its end, and evaluations may take longer than its last steps.
        if passed > reached and (last or not progress.finishing_early):
            found = evaluate_milestone(context, progress, milestones, last)
            # A step that passes several milestones leaves the same weights for all of them.
            goes_on = all(milestones.report(i, found, context.meter.spent()) for i in range(reached, passed))
            if not ranks.all(goes_on):
                _leave(context)
                return None
        reached = passed
        if last:
            return found
        if stop:
            _leave(context)
            return None
        keeper.before_step()
        take_step(batch, sampler.drawn)
    raise AssertionError("passes over the data never end")


def _leave(context: TrainingContext) -> None:
    """Leave a training that is stopped: what the first process saves and says of it is that of all."""
    context.meet()
    context.meter.settle()


def evaluate_milestone(context: TrainingContext, progress: Progress, milestones: Milestones, last: bool) -> Score:
    """Evaluate on the validation set, offer the weights to `milestones.best`, and book the cost.

    Raises:
        NotFiniteError: If the metric or the loss is not finite.
    """
    context.meter.settle()
    before, best = context.meter.spent(), milestones.best
    with evaluated_weights(context):
        # A standard error that takes further calls of the metric is of what is delivered, which only then is known.
        found = score(context, context.data.valid, milestones.samples, last and best is None)
        check_finite(context, found)
        if best is not None and context.deliverable():
            best.offer(context.model, found, context.p, last)
    progress.book_evaluation(context.meter.spent() - before)
    return found


def check_finite(context: TrainingContext, found: Score) -> None:
    """Check a score on the validation set.

    Raises:
        NotFiniteError: If the metric or the loss is not finite.
    """
    for name, value in (("loss", found.loss), (f"metric {context.data.metric.name}", found.metric)):
        if not math.isfinite(value):
            raise NotFiniteError(f"the validation {name} is {value} at {context.p:.0%} of the budget")


class Step:
    """One optimizer step; everything that stays the same from step to step is looked up once.

    Args:
        context: The assembled training.
    """

    def __init__(self, context: TrainingContext):
        self._context = context
        self._batchers = _overriding(context.techniques, "batch")
        self._steppers = _overriding(context.techniques, "step")
        self._remember = bool(_overriding(context.techniques, "select"))
        self._period = max((t.period() for t in context.techniques if isinstance(t, OptimizerTechnique)), default=1)
        self._count = 0
        self._ranks = Ranks()
        self._sizes = Sizes()

    def __call__(self, batch: Batch, drawn: int | None = None) -> None:
        """Train on one batch.

        Args:
            batch: This process's share of it.
            drawn: Samples of the whole batch; None if the share is all of it.
        """
        context, share = self._context, len(batch.index)
        drawn = share if drawn is None else drawn
        for technique in self._batchers:
            batch = technique.batch(context, batch)
        # Until a size has proved to fit, processes average gradients only when all have them: one that lacks memory
        # would leave the others waiting.
        context.overlap = not context.parallel or self._ranks.all(self._sizes.fits(context, batch))
        while (losses := self._gradients(batch)) is None:
            self._halve(batch)
        if not average(context):
            self._sizes.overlap = False
        # Techniques see unscaled gradients; the gradient scaler skips the step itself if one is not finite.
        context.unscale()
        with ExitStack() as stack:
            for technique in self._steppers:
                stack.enter_context(technique.step(context))
            context.meter.step(drawn, context.update, self._period, share)
        context.optimizer.zero_grad()
        context.seen += drawn
        self._count += 1
        if self._count % CHECK_EVERY == 1 and not self._ranks.all(bool(torch.isfinite(losses).all())):
            raise NotFiniteError(f"the training loss is not finite at {context.p:.0%} of the budget")

    def _gradients(self, batch: Batch) -> Tensor | None:
        """Add the gradients of a batch; return the losses of its last micro-batch, or None if memory ran out.

        A failed attempt leaves its traces: random numbers drawn, BatchNorm statistics updated and cost booked.
        """
        context, found = self._context, None
        context.current = context.chunks(batch, context.micro_batch)
        try:
            for part, losses in accumulate(context):
                if self._remember and part.other is None:
                    # Segments of one sample share its index.
                    context.sample_loss.scatter_reduce_(0, part.index, losses.float(), "mean", include_self=False)
            found = losses
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if context.overlap and context.parallel:
                why = f"one of {self._ranks.world} processes ran out of memory, which had sufficed"
                raise GrownError(why) from error
            if _computed_at_once(context, batch) == 1:
                raise
        return found if context.overlap or self._ranks.all(found is not None) else None

    def _halve(self, batch: Batch) -> None:
        """Halve the micro-batch after a batch ran out of memory."""
        context = self._context
        context.micro_batch = (_computed_at_once(context, batch) + 1) // 2
        context.optimizer.zero_grad()
        if context.device.type == "cuda":
            torch.cuda.empty_cache()


def _computed_at_once(context: TrainingContext, batch: Batch) -> int:
    count = len(batch.index)
    return min(context.micro_batch or count, count)


def _overriding(techniques: Sequence[Technique], hook: str) -> list[Technique]:
    return [t for t in techniques if getattr(type(t), hook) is not getattr(Technique, hook)]


def _agreed(progress: Progress, context: TrainingContext, milestones: Milestones, ranks: Ranks) -> bool:
    """Set the progress to that of the rank that is furthest, and return whether one is to stop.

    Ranks that disagreed would deadlock at different steps. They agree in one message, or two where the budget
    limits what each of them measures for itself.
    """
    if ranks.world > 1 and not context.meter.alike.issuperset(progress.budget):
        context.meter.settle()
    context.p = progress.read(context.meter.spent())
    stop = milestones.stopped()
    if ranks.world > 1:
        p, early, stopped = ranks.largest(context.p, float(progress.finishing_early), float(stop))
        context.p = progress.p = p
        stop = bool(stopped)
        if early:
            progress.finish_early()
    return stop
