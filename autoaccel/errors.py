"""Everything that can go wrong, as a tree, with the exit code that a shell sees.

AutoaccelError                 1   base class; never raised itself
├── UsageError                 2   the command line, a budget, a YAML file, an existing run folder
├── TaskError                  3   the user's model file, data, loss or metric
├── NoTrialError               4   no trial was completed, so there is nothing to deliver
├── StoreError                 5   the run folder or the disk
└── InterruptedRunError           6   stopped by a signal after something worth keeping was saved

What happens to a single trial is not an error but a value: see `autoaccel.core.trial.Outcome`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AutoaccelError(Exception):
    """Base of all errors that autoaccel raises on purpose. The message is one clear sentence."""

    exit_code = 1


class UsageError(AutoaccelError):
    """The command was not understood: a flag, a budget, a YAML file or an existing run folder."""

    exit_code = 2


class TaskError(AutoaccelError):
    """The user's file, data, model, loss or metric cannot be trained as it is.

    Args:
        message: The cause and what is accepted.
        where: `file:line` of the user's code, when it is theirs.
    """

    exit_code = 3

    def __init__(self, message: str, where: str | None = None):
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.where = where


class NoTrialError(AutoaccelError):
    """The budget ended, or every trial failed, before one trial was completed."""

    exit_code = 4


class StoreError(AutoaccelError):
    """The run folder cannot be read, written or locked."""

    exit_code = 5


class InterruptedRunError(AutoaccelError):
    """The run was interrupted; what had been found until then was saved."""

    exit_code = 6


def suggestion(word: str, accepted: Iterable[str]) -> str:
    """`; did you mean 'momentum'?` for a near miss, else the empty string."""
    close = difflib.get_close_matches(word, list(accepted), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
