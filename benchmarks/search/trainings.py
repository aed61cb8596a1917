"""The trainings that a search of the benchmark pays for, within a budget and with the default as its fallback."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from functools import wraps

from benchmarks.search.problems import Problem, Values

ETA = 3
RUNGS = (1 / 27, 1 / 9, 1 / 3, 1.0)
"""The lengths of searches of many fidelities, `ETA` times apart."""
ENOUGH = 2.0
TOLERANCE = 1e-9
DIVERGED = 1e3
"""What a search is told of a training that diverged before another has ended."""


class SpentError(Exception):
    """A training that was asked for costs more than may be spent on it."""


class Trainings:
    """Pays for trainings, and keeps what it costs to train the leader in full.

    The leader is the best of the recipes that were trained longest, and the default before there is one. So each
    search delivers a full training, as a careful user of it would; with a budget of 1 it is that of the default.
    Nothing is kept of a budget of `ENOUGH` if trainings continue, and the leader gets what is left: that was better
    for the peers that promote (mean regret .37 against .49 with a budget of 2).

    Args:
        problem: What is trained.
        budget: What may be spent, in full trainings.

    Attributes:
        models: The length and loss of each recipe's longest training.
        spent: What was spent, in full trainings.
        seconds: Seconds that the problem itself took: they are not the search's.
    """

    def __init__(self, problem: Problem, budget: float):
        self.problem = problem
        self.budget = budget
        self.models: dict[tuple[float, ...], tuple[float, float]] = {}
        self.spent = 0.0
        self.seconds = 0.0
        self._longest = 0.0
        self._keeps = not problem.continues or budget < ENOUGH
        self._worst = -math.inf

    def train(self, values: Values, length: float) -> float:
        """Train a recipe to a length, and return its loss: of one that diverged, the worst loss so far.

        Where a training can be continued, what the recipe was trained before is not paid for again.

        Raises:
            SpentError: If that is more than is left, less what is kept.
        """
        longest = max(length, self._longest)
        final = 1.0 - longest if self.problem.continues else float(longest < 1.0)
        cost = self._cost(values, length)
        if self.spent + cost + final * self._keeps > self.budget + TOLERANCE:
            raise SpentError
        return self._finite(self._train(values, length, cost))

    def go_on(self, values: Values, begin: float, end: float) -> float:
        """Go on with a training scheduled for the full length, and return its loss as `train` does.

        Where a training cannot be continued, one that ends here leaves no model. For trials after a full one, as
        nothing is kept for the leader.

        Raises:
            SpentError: If too little is left.
        """
        if self.spent + end - begin > self.budget + TOLERANCE:
            raise SpentError
        if self.problem.continues or end == 1.0:
            return self._finite(self._train(values, end, end - begin))
        self.spent += end - begin
        return self._finite(self.look(values, end))

    def look(self, values: Values, progress: float) -> float:
        """Return the loss at a progress of a full training that is paid for elsewhere; NaN if it diverged."""
        return self._loss(values, 1.0, progress)

    def finish(self) -> None:
        """Train the leader in full unless there is a full training, or as far as the rest goes."""
        left = self.budget - self.spent
        length = min(1.0, left + self._longest if self.problem.continues else left)
        if self._longest < length:
            leader = self._leader()
            self._train(leader, length, self._cost(leader, length))

    def best(self) -> tuple[Values, float]:
        """Return the recipe and the length of the model in hand: the one with the least loss."""
        key = min(self.models, key=self._rank)
        return self._values(key), self.models[key][0]

    def _leader(self) -> Values:
        rivals = [key for key, (length, _) in self.models.items() if length == self._longest]
        return self._values(min(rivals, key=self._rank)) if rivals else self.problem.default

    def _rank(self, key: tuple[float, ...]) -> float:
        _, loss = self.models[key]
        return loss if math.isfinite(loss) else math.inf

    def _train(self, values: Values, length: float, cost: float) -> float:
        loss = self._loss(values, length, 1.0)
        self.models[self._key(values)] = length, loss
        self._longest = max(length, self._longest)
        self.spent += cost
        return loss

    def _loss(self, values: Values, length: float, progress: float) -> float:
        begun = time.perf_counter()
        loss = self.problem.loss(values, length, progress)
        self.seconds += time.perf_counter() - begun
        return loss

    def _finite(self, loss: float) -> float:
        if math.isfinite(loss):
            self._worst = max(self._worst, loss)
            return loss
        return self._worst if math.isfinite(self._worst) else DIVERGED

    def _cost(self, values: Values, length: float) -> float:
        begin, _ = self.models.get(self._key(values), (0.0, 0.0)) if self.problem.continues else (0.0, 0.0)
        return max(0.0, length - begin)

    def _key(self, values: Values) -> tuple[float, ...]:
        return tuple(values[name] for name in self.problem.domains)

    def _values(self, key: tuple[float, ...]) -> Values:
        return dict(zip(self.problem.domains, key, strict=True))


Search = Callable[[Problem, float, int], tuple[Values, float, float]]
"""From a problem, a budget in full trainings and a seed to the recipe and the length of the model in hand, and the
seconds of all decisions."""


def search(method: Callable[[Trainings, int], None]) -> Search:
    """Make a search of a method that trains until `SpentError` is raised or it has nothing more to try."""

    @wraps(method)
    def run(problem: Problem, budget: float, seed: int) -> tuple[Values, float, float]:
        trainings, begun = Trainings(problem, budget), time.perf_counter()
        with contextlib.suppress(SpentError):
            method(trainings, seed)
        trainings.finish()
        return *trainings.best(), time.perf_counter() - begun - trainings.seconds

    return run
