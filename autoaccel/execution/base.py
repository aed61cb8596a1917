"""The executor interface: everything that a run needs from the code that trains.

`autoaccel.testing.check_executor` tests whether an executor conforms to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from autoaccel.core.catalog import Catalog
from autoaccel.core.clock import Clock
from autoaccel.core.events import Event
from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import Machine
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Resources, Slots
from autoaccel.core.trial import TrialRequest

UNDERSTOOD = "data.pt"
"""File in the run folder with what was understood of the task, for its trials."""


class Executor(Protocol):
    """Runs trials and reports on them. Requests about trials return at once; `poll` returns the events.

    Each started trial reports its milestones in order and then finishes exactly once, whatever happens.
    """

    @property
    def machine(self) -> Machine:
        """What there is to train on; known after `load`."""
        ...

    @property
    def slots(self) -> Slots:
        """How many trials run side by side, and what each has; known after `profile`. More trials wait."""
        ...

    def load(self, limit: float | None) -> Catalog:
        """Load the task and return the catalog of techniques known to the process that trains.

        Args:
            limit: Seconds after which loading is aborted; None for no limit.

        Raises:
            TaskError: If the task cannot be loaded.
            UsageError: If it took longer than the limit, or there are no such devices as were asked for.
        """
        ...

    def profile(self, limit: float | None) -> tuple[TaskFacts, Mapping[str, Any]]:
        """Measure the task after `load`; return its facts and the search space of the user's model.

        Args:
            limit: Seconds after which measuring is aborted; None for no limit.

        Raises:
            TaskError: If the task cannot be trained, or not within the limit.
        """
        ...

    def identify(self, limit: float | None) -> tuple[str, Mapping[str, str]]:
        """Return digests of the data and, by path, of the task's own files, for a run that is resumed.

        Args:
            limit: Seconds after which it is aborted; None for no limit.

        Raises:
            TaskError: If the data are not those any more that were understood, or it takes longer than the limit.
        """
        ...

    def score(self, recipe: Recipe, weights: Path, limit: float | None) -> Mapping[str, Any]:
        """Score saved weights on the test set.

        Args:
            recipe: The recipe that trained them.
            weights: Path of the weights file.
            limit: Seconds after which scoring is aborted; None for no limit.

        Returns:
            `metric`, `loss` and `standard_error`, each None if unknown, and `cost`, a `Cost` as plain data.

        Raises:
            TaskError: If it fails, or takes longer than the limit.
        """
        ...

    def start(self, request: TrialRequest) -> None:
        """Start a trial."""
        ...

    def proceed(self, trial: int) -> None:
        """Let a trial that has reported continue. Trials that have ended are ignored, here and below."""
        ...

    def stop(self, trial: int) -> None:
        """Ask a trial to stop at its next step. It finishes as pruned unless it has ended in the meantime."""
        ...

    def preempt(self, trial: int) -> None:
        """Ask a trial to save a checkpoint, if it makes any, and to stop at its next step.

        It finishes as preempted, within a few seconds.
        """
        ...

    def finish_early(self, trial: int) -> None:
        """Ask a trial to finish early, with its schedules run to the end.

        It finishes as complete, or as pruned if it has not taken a step yet.
        """
        ...

    def poll(self, timeout: float) -> list[Event]:
        """Return the events since the last call in order; wait up to `timeout` seconds for the first one."""
        ...

    def close(self) -> None:
        """End everything that is still running. May be called more than once."""
        ...


ExecutorFactory = Callable[[Any, Resources, Clock, Path], Executor]
"""Makes an executor from the user's task, the resources, the clock and the run folder."""
