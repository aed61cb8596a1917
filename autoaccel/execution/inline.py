"""An executor that trains in this process, for debugging: breakpoints work, but hung trials are not killed."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed

from autoaccel.core.catalog import TechniqueInfo
from autoaccel.core.clock import Clock
from autoaccel.core.events import Event, Finished, Reported
from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import Machine, usable_cpus
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Resources, Slots
from autoaccel.core.trial import Outcome, OutcomeKind, TrialRequest
from autoaccel.errors import UsageError
from autoaccel.execution.base import UNDERSTOOD
from autoaccel.execution.machine import find_machine
from autoaccel.spaces.domains import plain_space
from autoaccel.techniques.registry import catalog
from autoaccel.training.data.discovery import load_target, with_data
from autoaccel.training.data.opening import with_metric
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task
from autoaccel.training.data.understanding import Understanding
from autoaccel.training.device import find_device_anew
from autoaccel.training.identity import data_digest, file_digests
from autoaccel.training.profile import profile_task
from autoaccel.training.run_trial import run_trial
from autoaccel.training.scoring import score_weights
from autoaccel.training.trial_environment import TrialEnvironment


class InlineExecutor:
    """Runs trials one after another, each to its end; the search gets its reports only afterwards.

    Args:
        task: A `Task`, a function that returns one, or a target such as `model.py`.
        resources: The seed of the split, the metric and whether to use the CPU.
        clock: Measures the seconds.
        folder: The run folder, where each trial gets a folder `trials/NNNN`.
    """

    def __init__(self, task: Any, resources: Resources, clock: Clock, folder: Path):
        self._given = task
        self._target = str(Path(task).resolve()) if isinstance(task, str) else ""
        self._resources = resources
        self._clock = clock
        self._folder = folder.absolute()
        self._waiting: list[TrialRequest] = []
        self._ended: list[Event] = []
        self._task: Task | None = None
        self._theirs = Path.cwd()
        self.machine, self.slots = Machine(), Slots()

    def load(self, limit: float | None) -> dict[str, TechniqueInfo]:
        """Load the task and return the catalog of techniques. The limit is not enforced.

        Raises:
            TaskError: If the task cannot be loaded.
            UsageError: If another GPU than the first was asked for.
        """
        set_seed(self._resources.split_seed)
        with chdir(Path.cwd()):  # come back from where the user's file may go
            target = load_target(self._given) if isinstance(self._given, str) else self._given
            task = with_data(target, self._resources.split_seed)
            self._theirs = Path.cwd()
        self.machine = Machine((), usable_cpus()) if self._resources.cpu else find_machine()
        self.slots = self._slots()
        self._task = with_metric(task, self._resources.metric) if self._resources.metric else task
        return catalog()

    def profile(self, limit: float | None) -> tuple[TaskFacts, Mapping[str, Any]]:
        """Measure the task; return its facts and the user's model space. The limit is not enforced.

        Raises:
            TaskError: If the task cannot be trained.
        """
        assert self._task is not None
        find_device_anew(self._resources.cpu)
        with chdir(self._theirs):
            facts = profile_task(
                self._task,
                self._clock,
                self._clock.now(),
                self._resources.split_seed,
                self._resources.cpu,
                self._folder / UNDERSTOOD,
                self._resources.measure,
            )
        return replace(facts, files=file_digests(self._target)), plain_space(self._task.space)

    def identify(self, limit: float | None) -> tuple[str, Mapping[str, str]]:
        """Return digests of the data and, by path, of the task's own files. The limit is not enforced."""
        assert self._task is not None
        with chdir(self._theirs):
            found = Understanding.load(self._folder / UNDERSTOOD)
            data = prepare(self._task, build_model(self._task, {}), self._resources.split_seed, found)
        return data_digest(data), file_digests(self._target)

    def score(self, recipe: Recipe, weights: Path, limit: float | None) -> Mapping[str, Any]:
        """Score a trial's weights on the test set. The limit is not enforced."""
        assert self._task is not None
        find_device_anew(self._resources.cpu)
        resources = self._resources
        path = weights.absolute()
        with chdir(self._theirs):
            found = Understanding.load(self._folder / UNDERSTOOD)
            return score_weights(self._task, recipe, path, self._clock, resources.split_seed, resources.cpu, found)

    def start(self, request: TrialRequest) -> None:
        """Queue a trial; `poll` trains it."""
        self._waiting.append(request)

    def proceed(self, trial: int) -> None:
        """Do nothing: a trial has ended before its reports are returned."""

    def stop(self, trial: int) -> None:
        """Drop a queued trial, which finishes as pruned; a trial in training cannot be stopped."""
        self._drop(trial, Outcome(OutcomeKind.PRUNED, reason="stopped"))

    def preempt(self, trial: int) -> None:
        """Drop a queued trial, which finishes as preempted."""
        self._drop(trial, Outcome(OutcomeKind.PREEMPTED, reason="the run was asked to end"))

    def _drop(self, trial: int, outcome: Outcome) -> None:
        kept = [request for request in self._waiting if request.trial != trial]
        if len(kept) < len(self._waiting):
            self._waiting = kept
            self._ended.append(Finished(trial, outcome))

    def finish_early(self, trial: int) -> None:
        """Do nothing: no call can arrive while a trial trains in this process."""

    def poll(self, timeout: float) -> list[Event]:
        """Train the next queued trial to its end and return its events."""
        if self._ended or not self._waiting:
            ended, self._ended = self._ended, []
            return ended
        request = self._waiting.pop(0)
        events: list[Event] = []
        environment = TrialEnvironment(
            clock=self._clock,
            started=self._clock.now(),
            report=lambda report: events.append(Reported(report)) or True,  # type: ignore[func-returns-value]
            folder=self._folder / "trials" / f"{request.trial:04d}",
            split_seed=self._resources.split_seed,
            cpu=self._resources.cpu,
            found=Understanding.load(self._folder / UNDERSTOOD),
        )
        find_device_anew(self._resources.cpu)
        assert self._task is not None
        with chdir(self._theirs):
            outcome = run_trial(self._task, request, environment)
        gc.collect()  # a compiled model and a scaled optimizer are in reference cycles
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return [*events, Finished(request.trial, outcome)]

    def close(self) -> None:
        """Drop the queued trials."""
        self._waiting.clear()

    def _slots(self) -> Slots:
        """Return the one place of this process, which has the first device and all threads."""
        asked = self._resources
        if asked.devices not in ((), (0,)):
            raise UsageError("--inline trains on the first GPU; set CUDA_VISIBLE_DEVICES instead of --devices")
        return replace(asked, workers=1).slots(self.machine)
