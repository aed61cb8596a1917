"""All errors, as a tree, with their exit codes.

AutoaccelError                 1   base class; never raised itself
├── UsageError                 2   the command line, a budget, a YAML file, an existing run folder
├── TaskError                  3   the user's model file, data, loss or metric
├── NoTrialError               4   no trial was completed, so there is no result
├── StoreError                 5   the run folder or the disk
├── MachineError               5   processes that the machine ends or holds, such as for lack of memory
├── InterruptedRunError        6   stopped by Ctrl-C after a result was saved
├── ConstraintError            7   no model keeps the constraints; the one that breaks them least was saved
└── PreemptedRunError         75   stopped by SIGTERM or SIGHUP; the same command with --resume goes on

How a single trial ends is a value, not an error: see `autoaccel.core.trial.Outcome`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AutoaccelError(Exception):
    """Base class of all errors that autoaccel raises on purpose. The message is one clear sentence."""

    exit_code = 1


class UsageError(AutoaccelError):
    """The input is not valid: a flag, a budget, a YAML file or an existing run folder."""

    exit_code = 2


class TaskError(AutoaccelError):
    """The user's file, data, model, loss or metric cannot be used for training.

    Args:
        message: The cause, and what is accepted instead.
        where: `file:line` in the user's code, if the error came from there.
    """

    exit_code = 3

    def __init__(self, message: str, where: str | None = None):
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.where = where


class NoTrialError(AutoaccelError):
    """No trial was completed: the budget ended first, or every trial failed."""

    exit_code = 4


class StoreError(AutoaccelError):
    """The run folder cannot be read, written or locked."""

    exit_code = 5


class MachineError(AutoaccelError):
    """The machine, not the task, keeps processes from running: they are killed or do not answer."""

    exit_code = 5


class InterruptedRunError(AutoaccelError):
    """The run was interrupted; the results until then were saved."""

    exit_code = 6


class ConstraintError(AutoaccelError):
    """No model keeps the constraints of the run; the one that breaks them least was saved."""

    exit_code = 7


class PreemptedRunError(AutoaccelError):
    """The machine was taken away; a resumed run goes on from the last checkpoint.

    The exit code is EX_TEMPFAIL of sysexits.h, on which schedulers and wrappers start a command again.
    """

    exit_code = 75


def suggestion(word: str, accepted: Iterable[str]) -> str:
    """Return `; did you mean 'momentum'?` for a near miss, else the empty string."""
    close = difflib.get_close_matches(word, list(accepted), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
