"""What is compared: no search, autoaccel's, and others. All train the same recipes in the same way."""

from __future__ import annotations

import contextlib
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import Domain
from autoaccel.core.events import Event, Finish, FinishEarly, Finished, Profiled, Reported, Start, Stop, Tick
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import Trials
from autoaccel.core.trial import Outcome, Report, TrialRequest
from autoaccel.search.base import Findings, SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.search.optuna_sampler import portfolio_proposals
from autoaccel.search.samplers import find_sampler
from autoaccel.spaces.choosers import RandomChooser
from autoaccel.tuner.summary import delivery
from benchmarks.recipes.trainer import Trainer
from benchmarks.search.peers import simple
from benchmarks.search.problems import Problem, Values
from benchmarks.search.trainings import SpentError, Trainings

OURS, PLAINLY, RECOMMENDED = "autoaccel", "plain", "portfolio-first"
SLACK = 0.97
"""Share of the budget that full trainings are planned with: if each is late by a moment, the last one must fit."""


@dataclass(frozen=True)
class Delivered:
    """The model in hand at the deadline.

    Args:
        request: How it was trained.
        outcome: How its training ended.
        origin: Where its recipe comes from.
        trials: All trials, where they are known.
        plan: What was planned, one line each.
    """

    request: TrialRequest
    outcome: Outcome
    origin: str
    trials: Trials | None = None
    plan: tuple[str, ...] = ()


Method = Callable[[Trainer, int], Delivered]
"""From a trainer and a seed to what is delivered."""


def plain(trainer: Trainer, seed: int) -> Delivered:
    """Train plain with the whole budget."""
    return alone(trainer, PLAIN["plain"], "plain", seed, trainer.left)


def plain_thrice(trainer: Trainer, seed: int) -> Delivered:
    """Train plain three times as long as the others may: no rival, but a measure of what they are worth."""
    return alone(trainer, PLAIN["plain"], "plain", seed, trainer.left + 2 * trainer.budget)


def portfolio_first(trainer: Trainer, seed: int) -> Delivered:
    """Train the recipe that the space recommends first with the whole budget."""
    first = portfolio_proposals(trainer.space)[0]
    return alone(trainer, first.recipe, first.origin, seed, trainer.left)


def alone(trainer: Trainer, recipe: Recipe, origin: str, seed: int, seconds: float) -> Delivered:
    """Train one recipe."""
    request = trainer.request(trainer.count, recipe, seconds, seed, full=True)
    return Delivered(request, trainer.train(request), origin)


def ours(trainer: Trainer, seed: int) -> Delivered:
    """Run autoaccel's search as a run does, with one worker, which prunes trials on the way."""
    # Nothing is reserved for a report, as there is none.
    settings = SearchSettings(space=trainer.whole, budget=Budget(seconds=trainer.budget), seed=seed, reserve=0.0)
    search = HalvingSearch(settings)
    drive(search, trainer)
    _, record = delivery(search)
    if record is None or record.outcome is None:
        raise RuntimeError("no trial was completed")
    return Delivered(record.request, record.outcome, record.request.origin, search.trials, tuple(search.describe()))


def drive(search: HalvingSearch, trainer: Trainer) -> None:
    """Carry out what a search asks for, one training after the other, until it has finished."""
    waiting, stopped, early, done = deque[TrialRequest](), set[int](), set[int](), False

    def handle(event: Event) -> None:
        nonlocal done
        for action in search.handle(event, trainer.clock.now()):
            match action:
                case Start(request):
                    waiting.append(request)
                case Stop(trial):
                    stopped.add(trial)
                case FinishEarly(trial):
                    early.add(trial)
                case Finish():
                    done = True
                case _:
                    pass

    def heard(report: Report) -> bool:
        handle(Reported(report))
        return report.trial not in stopped

    handle(Profiled(trainer.facts))
    while not done:
        if not waiting:
            handle(Tick())
            continue
        request = waiting.popleft()
        number = request.trial
        handle(Finished(number, trainer.train(request, heard, lambda number=number: number in early)))


@dataclass(frozen=True)
class RecipesProblem(Problem):
    """A problem of the simulated benchmark whose trainings are real: its one hyperparameter numbers the recipes.

    Args:
        trainer: Trains them.
        seed: Seed of the trainings.
        full: Seconds of a full training.
    """

    trainer: Trainer = field(kw_only=True)
    seed: int = field(kw_only=True)
    full: list[float] = field(kw_only=True)
    recipes: list[tuple[Recipe, str]] = field(kw_only=True)
    queue: Iterator[Any] = field(kw_only=True)
    trained: dict[tuple[int, float], tuple[TrialRequest, Outcome]] = field(default_factory=dict, kw_only=True)

    def sample(self, source: Random) -> Values:
        """Return the next known-good recipe, or a random one."""
        space, proposal = self.trainer.space, next(self.queue, None)
        if proposal is not None:
            return self.add(proposal.recipe, proposal.origin)
        chooser = RandomChooser(source.getrandbits(32), space.on_share)
        return self.add(space.draw(chooser, reference=False), "random")

    def add(self, recipe: Recipe, origin: str) -> Values:
        """Number a recipe."""
        self.recipes.append((recipe, origin))
        return {"recipe": len(self.recipes) - 1}

    def train(self, values: Values, length: float) -> Callable[[float], float]:
        """Train a recipe, and return its loss, whatever the progress."""
        number = int(values["recipe"])
        request = self.trainer.request(
            self.trainer.count, self.recipes[number][0], length * self.full[0], self.seed, length == 1.0
        )
        outcome = self.trainer.train(request)
        self.trained[number, length] = request, outcome
        loss = self.trainer.loss(outcome)
        return lambda progress: loss


class TimedTrainings(Trainings):
    """Pays what trainings really took, and gives the last one all that is left."""

    problem: RecipesProblem

    def _train(self, values: Values, length: float, cost: float) -> float:
        loss = super()._train(values, length, cost)
        self.spent = self.budget - self.problem.trainer.left / self.problem.full[0]
        return loss

    def finish(self) -> None:
        """See `Trainings`."""
        if self._longest < 1.0:
            self.problem.full[0] = self.problem.trainer.left
            self.spent = self.budget - 1.0
            super().finish()


def peer(method: Callable[[Trainings, int], None], number: float, trainer: Trainer, seed: int) -> Delivered:
    """Run another search, for which a full training takes what is left of the budget divided by `number`."""
    full = SLACK * trainer.left / number
    problem = problem_of(trainer, seed, full)
    trainings = TimedTrainings(problem, trainer.left / full)
    with contextlib.suppress(SpentError):
        inspect.unwrap(method)(trainings, seed)
    trainings.finish()
    values, length = trainings.best()
    request, outcome = problem.trained[int(values["recipe"]), length]
    return Delivered(request, outcome, problem.recipes[int(values["recipe"])][1])


def problem_of(trainer: Trainer, seed: int, full: float) -> RecipesProblem:
    """Return the problem of a task: plain is its default, and the known-good recipes are sampled first."""
    problem: RecipesProblem
    problem = RecipesProblem(
        "recipes", "", {"recipe": Domain(0, 1_000_000, integer=True)}, {"recipe": 0},
        lambda values, length: problem.train(values, length), continues=False,
        trainer=trainer, seed=seed, full=[full], recipes=[(PLAIN["plain"], "plain")],
        queue=iter(portfolio_proposals(trainer.space)),
    )  # fmt: skip
    return problem


def tpe(trainings: TimedTrainings, seed: int) -> None:
    """Train what Optuna's Parzen estimator proposes in full, after plain and the known-good recipes."""
    problem = trainings.problem
    sampler = find_sampler("tpe")(problem.trainer.space, seed)
    trainings.train(problem.default, 1.0)
    while proposal := sampler.propose(Findings()):
        loss = trainings.train(problem.add(proposal.recipe, proposal.origin), 1.0)
        sampler.tell(proposal, loss)


METHODS: Mapping[str, Method] = {
    OURS: ours,
    PLAINLY: plain,
    "plain-thrice": plain_thrice,
    RECOMMENDED: portfolio_first,
    "random": partial(peer, simple.random, 4),
    "tpe": partial(peer, tpe, 8),
    "asha": partial(peer, simple.asha, 2),
    "hyperband": partial(peer, simple.hyperband, 2),
    "one-epoch": partial(peer, simple.one_epoch, 3),
}
"""The methods, and for those that train in full several times: how many full trainings fit the budget."""
