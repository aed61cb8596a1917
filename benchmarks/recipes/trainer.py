"""Trains recipes of one task in this process, for whichever search asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch._dynamo  # noqa: F401  the first optimizer of a process imports it, which is no part of a budget
from accelerate.state import AcceleratorState

from autoaccel.core.budget import Budget
from autoaccel.core.clock import Clock
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import Outcome, OutcomeKind, Report, TrialRequest, final_milestones
from autoaccel.execution.base import UNDERSTOOD
from autoaccel.search.requests import step_cost
from autoaccel.spaces.domains import model_domains, plain_space
from autoaccel.spaces.space import SearchSpace
from autoaccel.training.data.task import Task
from autoaccel.training.data.understanding import Understanding
from autoaccel.training.profile import profile_task
from autoaccel.training.run_trial import run_trial
from autoaccel.training.scoring import score_weights
from autoaccel.training.trial_environment import WEIGHTS, TrialEnvironment

TIE = 1e-6
"""Weight of the loss beside the metric, which decides between equal metrics as autoaccel does."""


class Trainer:
    """Profiles a task, then trains recipes within what is left of a budget.

    Args:
        task: The task.
        space: The name or path of its search space.
        budget: Seconds on the clock for everything.
        clock: Measures the seconds; it may have begun before.
        folder: Where weights are saved.

    Attributes:
        facts: What the profile found.
        whole: The search space, with the user's hyperparameters.
        space: The same, without what the task cannot use.
        count: Number of trainings.
    """

    def __init__(self, task: Task, space: str, budget: float, clock: Clock, folder: Path):
        self._task, self._folder = task, folder
        self.budget, self.clock, self.count = budget, clock, 0
        self.facts = profile_task(task, clock, clock.now(), 0, True, folder / UNDERSTOOD)
        self._found = Understanding.load(folder / UNDERSTOOD)
        self.whole = SearchSpace.load(space).with_model(model_domains(plain_space(task.space)), self.facts.defaults)
        self.space, _ = self.whole.for_task(self.facts.capabilities)

    @property
    def left(self) -> float:
        """Seconds until the deadline, less what the test set will take."""
        return self.budget - self.clock.now() - self.facts.finalization_cost(test=True).seconds

    def train(
        self,
        request: TrialRequest,
        heard: Callable[[Report], bool] = lambda report: True,
        finishing: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Train, and keep the weights; see `TrialEnvironment` for the functions."""
        AcceleratorState._reset_state(reset_partial_state=True)  # else it keeps its first precision
        self.count += 1
        environment = TrialEnvironment(
            self.clock, self.clock.now(), heard, self._trial(request), cpu=True, finishing=finishing,
            found=self._found,
        )  # fmt: skip
        return run_trial(self._task, request, environment)

    def request(self, trial: int, recipe: Recipe, seconds: float, seed: int, full: bool) -> TrialRequest:
        """Return a request for a training; a full one keeps its best weights, as autoaccel's final one does."""
        evaluation, budget = self.facts.evaluation_cost(), Budget(seconds=seconds)
        milestones = final_milestones(budget.share(evaluation)) if full else (1.0,)
        return TrialRequest(
            trial=trial, recipe=recipe, budget=budget, seed=seed, milestones=milestones, evaluation=evaluation,
            finalization=self.facts.finalization_cost(test=False), keep_best=len(milestones) > 1,
            step=step_cost(self.facts, recipe),
        )  # fmt: skip

    def loss(self, outcome: Outcome) -> float:
        """Return the validated metric, smaller is better, with the loss for ties; NaN without a model."""
        if outcome.kind is not OutcomeKind.COMPLETE or outcome.final is None:
            return math.nan
        metric, loss = self.facts.score(outcome.final)
        return metric + TIE * min(loss, 1.0 / TIE)

    def test(self, request: TrialRequest) -> Mapping[str, Any]:
        """Score a training's weights on the test set."""
        AcceleratorState._reset_state(reset_partial_state=True)
        path = self._trial(request) / WEIGHTS
        return score_weights(self._task, request.recipe, path, self.clock, 0, True, self._found)

    def _trial(self, request: TrialRequest) -> Path:
        return self._folder / "trials" / f"{request.trial:04d}"
