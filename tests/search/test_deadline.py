"""The deadline is kept although trials cost something else than was planned and the profile is far off."""

import random
from dataclasses import replace

import pytest
from simulation import FACTS, Book, Machine, make

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Profiled
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import OutcomeKind, Purpose
from autoaccel.tuner.loop import Loop

NOISE = 0.2
SECONDS = 400.0


class NoisyMachine(Machine):
    """Trials of the search take more or less than their budget; the final training watches the clock, as real ones."""

    def __init__(self, clock, seed):
        super().__init__(clock, 1.0)
        self._source = random.Random(seed)

    def start(self, request):
        factor = max(0.2, self._source.gauss(1.0, NOISE))
        self._factor = min(factor, 1.0) if request.purpose is Purpose.FINAL else factor
        super().start(request)


def scaled(cost, factor):
    return Cost({name: amount * factor for name, amount in cost.items()})


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("profile", [1 / 3, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_deadline_is_kept_with_noise_in_cost_and_a_wrong_profile(workers, profile, seed):
    wrong = {name: scaled(getattr(FACTS, name), profile) for name in ("train", "evaluation", "setup")}
    clock, book, search = SimulatedClock(2.0), Book(), make(Budget(seconds=SECONDS), seed)
    Loop(search, NoisyMachine(clock, seed), clock, [book]).run([Profiled(replace(FACTS, **wrong), workers)])
    assert clock.now() <= SECONDS
    final = search.final()
    assert final.outcome.kind is OutcomeKind.COMPLETE
    # What the trials before it took too much, it has less, and no more than that.
    planned = search.plan.trial_budget(search.plan.top).seconds
    assert final.request.budget.seconds >= 0.75 * planned
