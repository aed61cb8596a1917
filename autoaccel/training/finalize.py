"""Finalize a training: the techniques finish, then the same weights are saved and tested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autoaccel.training.best import Best, copied, load
from autoaccel.training.checkpoint import save_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.prepare import in_units
from autoaccel.training.evaluate import evaluated_weights, score
from autoaccel.training.loop import check_finite
from autoaccel.training.scores import Score


def finalize(
    context: TrainingContext,
    path: Path | None,
    test: bool,
    best: Best | None = None,
    samples: int = 0,
    saved: Callable[[], bool] = lambda: True,
) -> Score | None:
    """Finish, save and test. The saved file is the result; the model in memory is not used afterwards.

    Args:
        context: A training that has reached its end.
        path: File for the weights; None saves none.
        test: Whether to score on the test set.
        best: Weights to deliver instead of the last ones, if they are better; gets the score of what is delivered.
        samples: Number of validation samples that the score is of; 0 for all.
        saved: Called once the weights are saved; returns whether the test set may be scored, the same on all ranks.

    Returns:
        The score on the test set, or None if it was not scored.
    """
    with evaluated_weights(context):
        if best is not None and best.score is not None:
            bring_back(context, best, samples)
        # Finish within the contexts, to merge and convert the weights that are evaluated, such as an average.
        speak_in_units(context)
        for technique in context.techniques:
            technique.finish(context)
        if path is not None and (context.accelerator is None or context.accelerator.is_main_process):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_weights(context.model, path)
        may_test = saved() and test
        return score(context, context.data.test) if may_test and context.data.test is not None else None


def bring_back(context: TrainingContext, best: Best, samples: int) -> None:
    """Put the best weights in place and score them again, so that what is reported is what is delivered.

    Where they do not score as they did, since a technique changes the forward pass with progress, the last weights
    stay if those are better.

    Args:
        context: A training that has reached its end, with the weights that are evaluated in place.
        best: The best weights; its score becomes that of the delivered ones, with a standard error.
        samples: Number of validation samples to use; 0 for all.
    """
    valid, last = context.data.valid, best.last
    if not best.earlier:
        if best.score and best.score.standard_error is None and context.data.metric.resamples(len(valid)):
            best.score = score(context, valid, samples)
        return
    weights = {} if last is None else copied(context.model)
    best.restore(context.model)
    best.score = score(context, valid, samples)
    if last is not None:
        best.offer(context.model, last, context.p, last=True)
        if not best.earlier:
            load(context.model, weights)
    check_finite(context, best.score)


def speak_in_units(context: TrainingContext) -> None:
    """Fold the standardization of the targets into the model, which from now on answers in their units.

    Raises:
        RuntimeError: If that is not possible any more, because a technique has replaced the last layer.
    """
    if context.data.objective.scaling is not None:
        # In their units targets may be far from 0 beside their spread, which bfloat16 cannot tell apart.
        context.mixed_precision = "no"
    context.data = in_units(context.model, context.data)
