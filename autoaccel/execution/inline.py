"""An executor that trains in this process, for a debugger: breakpoints work, but nothing that hangs is killed."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from autoaccel.core.catalog import TechniqueInfo
from autoaccel.core.clock import Clock
from autoaccel.core.events import Event, Finished, Reported
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Resources
from autoaccel.core.trial import TaskFacts, TrialRequest
from autoaccel.execution.local.worker import plain_space
from autoaccel.techniques.registry import catalog
from autoaccel.training.data.discovery import load_target, resolve
from autoaccel.training.data.task import Task
from autoaccel.training.profile import profile_task
from autoaccel.training.run_trial import TrialEnvironment, run_trial
from autoaccel.training.scoring import score_weights


class InlineExecutor:
    """Trials one after the other, each to its end: the search hears of its evaluations only afterwards.

    Args:
        task: A `Task`, a function that returns one, or how to find it.
        resources: The seed of the split, the metric and the device.
        clock: Counts the seconds.
        folder: Gives each trial its folder `trials/NNNN`.
    """

    def __init__(self, task: Any, resources: Resources, clock: Clock, folder: Path):
        self._given = task
        self._resources = resources
        self._clock = clock
        self._folder = folder
        self._waiting: list[TrialRequest] = []
        self._task: Task | None = None

    def load(self, limit: float | None) -> dict[str, TechniqueInfo]:
        """Load the task; returns the catalog of techniques. The limit is not enforced.

        Raises:
            TaskError: If it cannot be loaded.
        """
        set_seed(self._resources.split_seed)
        task = resolve(load_target(self._given) if isinstance(self._given, str) else self._given)
        self._task = (
            replace(task, metric=self._resources.metric, direction=None) if self._resources.metric else task
        )
        return catalog()

    def profile(self, limit: float | None) -> tuple[TaskFacts, Mapping[str, Any]]:
        """Measure the task; returns its facts and the space of the user's model. The limit is not enforced.

        Raises:
            TaskError: If the task cannot be trained.
        """
        assert self._task is not None
        self._forget_precision()
        facts = profile_task(
            self._task, self._clock, self._clock.now(), self._resources.split_seed, self._resources.cpu
        )
        return facts, plain_space(self._task.space)

    def score(self, recipe: Recipe, weights: Path, limit: float | None) -> Mapping[str, Any]:
        """Score a trial's weights on the test set. The limit is not enforced."""
        assert self._task is not None
        self._forget_precision()
        resources = self._resources
        return score_weights(self._task, recipe, weights, self._clock, resources.split_seed, resources.cpu)

    def start(self, request: TrialRequest) -> None:
        """Remember a trial; `poll` trains it."""
        self._waiting.append(request)

    def proceed(self, trial: int) -> None:
        """A trial has ended before anybody hears of its reports."""

    def stop(self, trial: int) -> None:
        """Forget a trial that has not begun."""
        self._waiting = [request for request in self._waiting if request.trial != trial]

    def finish_early(self, trial: int) -> None:
        """Not here: while a trial trains in this process, nobody can ask for anything."""

    def poll(self, timeout: float) -> list[Event]:
        """Train the next trial to its end."""
        if not self._waiting:
            return []
        request = self._waiting.pop(0)
        events: list[Event] = []
        environment = TrialEnvironment(
            clock=self._clock,
            started=self._clock.now(),
            report=lambda report: events.append(Reported(report)) or True,  # type: ignore[func-returns-value]
            folder=self._folder / "trials" / f"{request.trial:04d}",
            split_seed=self._resources.split_seed,
            cpu=self._resources.cpu,
        )
        self._forget_precision()
        assert self._task is not None
        outcome = run_trial(self._task, request, environment)
        gc.collect()  # a compiled model and a scaled optimizer hold themselves
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return [*events, Finished(request.trial, outcome)]

    def close(self) -> None:
        """Nothing is left running."""
        self._waiting.clear()

    def _forget_precision(self) -> None:
        # Accelerate keeps the precision of its first use for the life of a process, and trials differ in it.
        AcceleratorState._reset_state(reset_partial_state=True)
