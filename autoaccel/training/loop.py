"""The training loop: it advances progress, calls the hooks, and judges the model at milestones.

Techniques never save and never evaluate; both happen here, under their `evaluate` contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from accelerate.utils import broadcast
from torch import Tensor

from autoaccel.core.budget import Cost
from autoaccel.techniques.base import Batch, OptimizerTechnique, Technique
from autoaccel.training.batches import BatchSampler, chunks
from autoaccel.training.context import TrainingContext
from autoaccel.training.evaluate import Score, evaluate
from autoaccel.training.meters.progress import Progress

CHECK_EVERY = 50
"""Steps between two looks at the loss: each look makes an asynchronous device wait."""


class NotFiniteError(ArithmeticError):
    """The loss is infinite or not a number: the recipe diverged."""


@dataclass(frozen=True)
class Milestones:
    """When and on what a training is judged.

    Args:
        shares: Progress of each evaluation, ascending; the last is 1.
        samples: Validation samples used; 0 for all.
        report: Called with the milestone's index, its score and the cost so far; returns whether to go on.
        stopped: Asked before every step whether the training is to end.
    """

    shares: Sequence[float]
    samples: int
    report: Callable[[int, Score, Cost], bool]
    stopped: Callable[[], bool] = lambda: False


def train(context: TrainingContext, progress: Progress, milestones: Milestones, seed: int) -> Score | None:
    """Train until the budget is spent.

    Args:
        context: The assembled training.
        progress: What may be spent.
        milestones: When to judge.
        seed: Decides the order of the data.

    Returns:
        The last score, or None when it was stopped before the end.

    Raises:
        NotFiniteError: If the loss diverges.
    """
    accelerator = context.accelerator
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    take_step = Step(context)
    shares = list(milestones.shares)
    reached = 0
    context.model.train()
    for batch in BatchSampler(context, seed, rank, world):
        context.p = progress.read(context.meter.spent())
        if world > 1 and progress.timed:
            context.p = _agreed(context.p, context)
        while reached < len(shares) and context.p >= shares[reached]:
            score = evaluate_milestone(context, progress, milestones.samples)
            if not milestones.report(reached, score, context.meter.spent()):
                return None
            reached += 1
        if reached == len(shares):
            return score
        if milestones.stopped():
            return None
        take_step(batch)
    raise AssertionError("passes over the data never end")


def evaluate_milestone(context: TrainingContext, progress: Progress, samples: int) -> Score:
    """Evaluate on the validation set and book what that cost.

    Raises:
        NotFiniteError: If the result is not a number.
    """
    before = context.meter.spent()
    score = evaluate(context, context.data.valid, samples)
    progress.book_evaluation(context.meter.spent() - before)
    if not torch.isfinite(torch.tensor([score.metric, score.loss])).all():
        raise NotFiniteError(f"the validation loss is {score.loss} at {context.p:.0%} of the budget")
    return score


class Step:
    """One optimizer step. What does not change from step to step is looked up once.

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
        self._world = context.accelerator.num_processes if context.accelerator else 1

    def __call__(self, batch: Batch) -> None:
        """Train on one batch."""
        context, drawn = self._context, len(batch.weight)
        for technique in self._batchers:
            batch = technique.batch(context, batch)
        while (losses := self._gradients(batch)) is None:
            self._halve(len(batch.weight))
        # Techniques see true gradients; the scaler skips the step by itself where one of them is not finite.
        context.unscale()
        with ExitStack() as stack:
            for technique in self._steppers:
                stack.enter_context(technique.step(context))
            context.meter.step(drawn, context.update, self._period)
        context.optimizer.zero_grad()
        context.seen += drawn * self._world
        self._count += 1
        if self._count % CHECK_EVERY == 1:
            _check_finite(losses, context.p)

    def _gradients(self, batch: Batch) -> Tensor | None:
        """Add the gradients of a batch; returns the losses of its last part, or None if memory did not suffice.

        What the failed attempt has used is spent: its random numbers, its share of BatchNorm's statistics and
        its cost.
        """
        context = self._context
        context.current = chunks(batch, context.micro_batch)
        try:
            for part, share in context.current:
                losses = context.backward(part, share)
                if self._remember and part.other is None:
                    # Parts of one sample have its index in common.
                    context.sample_loss.scatter_reduce_(0, part.index, losses.float(), "mean", include_self=False)
        except torch.OutOfMemoryError:
            # Other ranks would wait for as many backward passes as they make themselves.
            if self._world > 1 or _computed_at_once(context, len(batch.weight)) == 1:
                raise
            return None
        return losses

    def _halve(self, count: int) -> None:
        """Compute half as much at once from now on, after a batch of `count` samples has not fitted."""
        context = self._context
        context.micro_batch = (_computed_at_once(context, count) + 1) // 2
        context.optimizer.zero_grad()
        if context.device.type == "cuda":
            torch.cuda.empty_cache()


def _computed_at_once(context: TrainingContext, count: int) -> int:
    return min(context.micro_batch or count, count)


def _overriding(techniques: Sequence[Technique], hook: str) -> list[Technique]:
    return [t for t in techniques if getattr(type(t), hook) is not getattr(Technique, hook)]


def _check_finite(losses: Tensor, p: float) -> None:
    if not bool(torch.isfinite(losses).all()):
        raise NotFiniteError(f"the training loss is not finite at {p:.0%} of the budget")


def _agreed(p: float, context: TrainingContext) -> float:
    """Rank 0's progress: ranks that disagree would stop at different steps and wait for each other."""
    return float(broadcast(torch.tensor(p, dtype=torch.float64, device=context.device)))
