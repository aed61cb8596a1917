"""Of which trials the weights are kept, while beliefs change and with them what is best."""

import math
import random

import pytest
from simulation import FACTS, make, quality

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Profiled
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.delivery import compared
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.summary import delivery


def noisy(seed):
    """A loss with so much noise that what is best changes often."""

    def table(request, p):
        noise = random.Random(f"{seed} {request.trial} {request.budget}").gauss(0, 0.3)
        return quality(request, p) + noise

    return table


class Watched:
    """A search, and whose weights were kept after each event."""

    def __init__(self, search):
        self.search, self.kept = search, []

    def __getattr__(self, name):
        return getattr(self.search, name)

    def handle(self, event, now):
        actions = self.search.handle(event, now)
        self.kept.append(set(self.search.kept()))
        if self.search.plan:
            best = [delivery(self.search)[1], self.search.best(), self.search.final(), self.search.baseline()]
            assert {record.number for record in best if record} <= self.kept[-1]
        return actions


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("seed", [0, 3])
def test_what_is_delivered_has_weights_at_any_time(workers, seed):
    clock = SimulatedClock(2.0)
    watched = Watched(make(Budget(seconds=600), seed))
    Loop(watched, TableExecutor(noisy(seed), clock, standard_error=0.1), clock).run([Profiled(FACTS, workers)])
    gone = set()
    for before, after in zip(watched.kept, watched.kept[1:], strict=False):
        gone |= before - after
        assert not gone & after and len(after) <= 7 + workers  # those that end as the run does
    assert gone and watched.search.final() is not None


def test_a_recipe_that_was_pruned_is_not_what_is_compared():
    clock = SimulatedClock(2.0)
    search = make(Budget(seconds=600))
    Loop(search, TableExecutor(quality, clock, standard_error=0.01), clock).run([Profiled(FACTS, 2)])
    pruned = next(r for r in search.trials if r.outcome.kind is OutcomeKind.PRUNED)
    complete = search.comparison().winner.request.recipe
    assert pruned.request.recipe not in {r.request.recipe for r in search.trials if r.final}
    found = compared(search._ladder, [pruned.request.recipe, complete, *PLAIN.values()])
    assert found.winner.request.recipe == complete and math.isfinite(found.winner.final.metric)
