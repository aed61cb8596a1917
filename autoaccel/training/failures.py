"""Why a training ends without a result, and how all processes that share its batches come to say the same."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from autoaccel.core.trial import OutcomeKind
from autoaccel.errors import TaskError, UsageError
from autoaccel.training.data.discovery import user_line
from autoaccel.training.device import out_of_memory
from autoaccel.training.meters.base import OverspentError
from autoaccel.training.ranks import Ranks

T = TypeVar("T")


class NotFiniteError(ArithmeticError):
    """Raised when the loss is infinite or NaN: the recipe diverged."""


class GrownError(RuntimeError):
    """Raised where memory no longer suffices for what it did, while other processes wait for the gradients.

    The training cannot go on, and says nothing of the recipe: anew, its first steps find out what fits now.
    """


@dataclass(frozen=True)
class Failure:
    """What an exception says of a training.

    Args:
        kind: How the training ends.
        reason: One line.
        where: `file:line` in the user's code, or empty.
        trace: The traceback, where nobody foresaw the exception; empty for others.
    """

    kind: OutcomeKind
    reason: str
    where: str = ""
    trace: str = ""


class ElsewhereError(RuntimeError):
    """Raised where another process that shares the batches has failed.

    Args:
        failure: What the other one says.
    """

    def __init__(self, failure: Failure):
        super().__init__(failure.reason)
        self.failure = failure


def failure_of(error: Exception) -> Failure:
    """Return what an exception says: infeasible is what lacks memory, diverges or spends all on its set-up."""
    if isinstance(error, ElsewhereError):
        return error.failure
    if isinstance(error, GrownError):
        return Failure(OutcomeKind.LOST, str(error))
    if isinstance(error, NotFiniteError | OverspentError | torch.OutOfMemoryError | MemoryError) and str(error):
        return Failure(OutcomeKind.INFEASIBLE, str(error).splitlines()[0])
    if out_of_memory(error):
        return Failure(OutcomeKind.INFEASIBLE, "out of memory")
    if isinstance(error, TaskError | UsageError):
        return Failure(OutcomeKind.FAILED, str(error))
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    trace = "".join(traceback.format_exception(error))
    return Failure(OutcomeKind.FAILED, reason, user_line(error), trace)


def together(compute: Callable[[], T]) -> list[T]:
    """Return what each process computes, in the order of the ranks; all call it together.

    Raises:
        ElsewhereError: If it fails on one of them, on all others: with what the first that fails says, in the order
            of the ranks. That one fails with its own exception.
    """
    ranks = Ranks()
    if ranks.world == 1:
        return [compute()]
    found: list[T] = []
    error: Exception | None = None
    try:
        found = [compute()]
    except Exception as raised:  # whatever it is, the others would wait
        error = raised
    everywhere = ranks.gathered((found, None if error is None else failure_of(error)))
    for rank, (_, failure) in enumerate(everywhere):
        if failure is not None:
            raise error if error is not None and rank == ranks.rank else ElsewhereError(failure)
    return [each for made, _ in everywhere for each in made]
