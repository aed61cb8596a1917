"""Finalize a training: the techniques finish, then the same weights are saved and tested."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from autoaccel.training.checkpoint import save_weights
from autoaccel.training.context import TrainingContext
from autoaccel.training.data.prepare import in_units
from autoaccel.training.evaluate import score
from autoaccel.training.scores import Score


def finalize(context: TrainingContext, path: Path | None, test: bool) -> Score | None:
    """Finish, save and test. The saved file is the result; the model in memory is not used afterwards.

    Args:
        context: A training that has reached its end.
        path: File for the weights; None saves none.
        test: Whether to score on the test set.

    Returns:
        The score on the test set, or None if it was not scored.
    """
    with ExitStack() as stack:
        for manager in context.evaluating():
            stack.enter_context(manager)
        # Finish within the contexts, to merge and convert the weights that are evaluated, such as an average.
        speak_in_units(context)
        for technique in context.techniques:
            technique.finish(context)
        if path is not None and (context.accelerator is None or context.accelerator.is_main_process):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_weights(context.model, path)
        return score(context, context.data.test) if test and context.data.test is not None else None


def speak_in_units(context: TrainingContext) -> None:
    """Fold the standardization of the targets into the model, which from now on answers in their units.

    Raises:
        RuntimeError: If that is not possible any more, because a technique has replaced the last layer.
    """
    if context.data.objective.scaling is not None:
        # In their units targets may be far from 0 beside their spread, which bfloat16 cannot tell apart.
        context.mixed_precision = "no"
    context.data = in_units(context.model, context.data)
