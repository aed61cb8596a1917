"""What an exception says of a training."""

import pytest
import torch

from autoaccel.core.trial import OutcomeKind
from autoaccel.errors import TaskError, UsageError
from autoaccel.training.failures import (
    ElsewhereError,
    Failure,
    GrownError,
    NotFiniteError,
    failure_of,
    together,
)
from autoaccel.training.meters.base import OverspentError


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (NotFiniteError("the loss is inf"), OutcomeKind.INFEASIBLE, "the loss is inf"),
        (OverspentError("no room for a step"), OutcomeKind.INFEASIBLE, "no room for a step"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried 1 GiB"), OutcomeKind.INFEASIBLE, "CUDA out of memory."),
        (MemoryError(), OutcomeKind.INFEASIBLE, "out of memory"),
        (RuntimeError("CPU: can't allocate memory"), OutcomeKind.INFEASIBLE, "out of memory"),
        (GrownError("memory no longer suffices"), OutcomeKind.LOST, "memory no longer suffices"),
        (TaskError("no such metric"), OutcomeKind.FAILED, "no such metric"),
        (UsageError("no such meter"), OutcomeKind.FAILED, "no such meter"),
    ],
)
def test_what_is_foreseen_is_one_line(error, kind, reason):
    assert failure_of(error) == Failure(kind, reason)


def test_what_is_not_foreseen_says_where_it_was():
    with pytest.raises(KeyError) as raised:
        together(lambda: {}["absent"])
    failure = failure_of(raised.value)
    assert failure.kind is OutcomeKind.FAILED and failure.reason == "KeyError: 'absent'"
    assert failure.where.startswith(__file__) and "Traceback" in failure.trace
    assert failure_of(ElsewhereError(failure)) == failure


def test_one_process_computes_alone():
    assert together(lambda: 7) == [7]
