"""A simulated task and machine, on which many slots train many trials."""

from __future__ import annotations

import random

from autoaccel.core.catalog import Domain
from autoaccel.core.events import Event, Finished
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import TrialRequest
from autoaccel.execution.simulated import TableExecutor
from autoaccel.spaces.space import SearchSpace
from autoaccel.techniques.registry import catalog
from autoaccel.training.data.capabilities import CAPABILITIES
from benchmarks.search.ours import SPACE

NOISE = 0.2
NUMBERS = 20
"""Hyperparameters of the plain space."""


class Machine(TableExecutor):
    """Trials take more or less than their budget, and the seconds of all that ended are added up."""

    busy = 0.0

    def start(self, request: TrialRequest) -> None:
        """Schedule the events of a trial."""
        self._factor = max(0.2, random.Random(request.trial).gauss(1.0, NOISE))
        super().start(request)

    def poll(self, timeout: float) -> list[Event]:
        """Return the next event."""
        events = super().poll(timeout)
        ended = [event.outcome for event in events if isinstance(event, Finished)]
        self.busy += sum(outcome.cost.seconds for outcome in ended)
        return events


def spaces(name: str) -> SearchSpace:
    """Return a shipped space, or one of `NUMBERS` plain hyperparameters by the name `plain`."""
    if name != "plain":
        return SearchSpace.load(name)
    domains = {f"x{index}": Domain(0.0, 1.0) for index in range(NUMBERS)}
    return SearchSpace.from_data(SPACE, catalog(), lambda _: {}).with_model(domains, dict.fromkeys(domains, 0.5))


def regret(recipe: Recipe) -> float:
    """Return by how much a recipe's loss is above the best one's, at any length and without noise."""
    flat = recipe.flat()
    numbers = [value for key, value in sorted(flat.items()) if isinstance(value, float) and 0 <= value <= 1]
    return sum((value - 0.3) ** 2 for value in numbers) / max(1, len(numbers))


def loss(request: TrialRequest, progress: float, seed: int = 0) -> float:
    """Return a loss in which each number of the recipe has its own best value, and longer trainings are better."""
    lucky = random.Random(request.trial + 1_000_003 * seed).gauss(0.0, 0.01)
    return 1.0 + regret(request.recipe) + lucky + (max(1e-3, progress) * (request.budget.seconds or 1.0)) ** -0.3


def facts_of(seconds: float) -> TaskFacts:
    """Return the facts of a task on which 640,000 samples take so long."""
    return TaskFacts(
        kind="image", capabilities=frozenset(CAPABILITIES), metric="loss", maximize=False, n_train=64_000,
        n_valid=10_000, train=Cost(seconds=seconds / 640_000),
    )  # fmt: skip
