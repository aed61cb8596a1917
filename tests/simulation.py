"""A search in the loop of real runs, against a table of results and a simulated clock."""

import math
from dataclasses import replace

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Profiled
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.spaces.space import SearchSpace
from autoaccel.tuner.loop import Loop

FACTS = TaskFacts(
    kind="image",
    capabilities=frozenset(
        {"image", "classes", "continuous", "sample_losses", "indexed", "free_order", "free_batches"}
    ),
    metric="loss",
    maximize=False,
    n_train=1000,
    n_valid=200,
    n_test=100,
    train=Cost(seconds=1e-4, flops=1e6),
    evaluation=Cost(seconds=0.02, flops=1e8),
    setup=Cost(seconds=0.05),
)


def quality(request, p):
    """A loss that depends on the learning rate, and falls with the budget and with progress."""
    lr = float(request.recipe.optimizer.parameters["lr"])
    amount = request.budget.seconds or request.budget["flops"] / 1e9
    return 1 + abs(math.log10(lr) + 2) + 1 / math.sqrt(amount * max(p, 0.1))


class Machine(TableExecutor):
    """Trains samples at the speed of the facts, times `slower`."""

    def __init__(self, clock, slower):
        super().__init__(quality, clock, flops_per_second=1e10)
        self._per_sample = FACTS.train.seconds * slower

    def poll(self, timeout):
        return [self._counted(event) for event in super().poll(timeout)]

    def _counted(self, event):
        if not isinstance(event, Finished):
            return event
        seconds = event.outcome.cost.seconds
        cost = event.outcome.cost.replace(samples=seconds / self._per_sample, steps=seconds / self._per_sample / 64)
        return replace(event, outcome=replace(event.outcome, cost=cost, first_step=0.001))


class Book:
    def __init__(self):
        self.entries = []

    def handle(self, entry, now):
        self.entries.append((now, entry))

    def tick(self, now):
        pass


def make(budget, seed=0, longest=None):
    return HalvingSearch(SearchSettings(SearchSpace.load("vision"), budget, seed, longest=longest))


def simulate(
    budget, table=quality, workers=1, seed=0, longest=None, gpus=False, nodes=(), profiled=FACTS, **options
):
    clock, book = SimulatedClock(2.0), Book()
    search = make(budget, seed, longest)
    event = Profiled(profiled, workers, gpus, nodes)
    Loop(search, TableExecutor(table, clock, **options), clock, [book]).run([event])
    return search, clock, book
