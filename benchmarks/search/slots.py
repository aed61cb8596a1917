"""How busy a search keeps many slots, and what its decisions cost.

    python -m benchmarks.search.slots --space vision --slots 1,8,256 --trials 5000

Trials are simulated, their cost is noisy, and the processor time of each decision passes on the simulated clock, in
which all slots that wait for it are idle. A trial of the lowest rung takes `--seconds`.
"""

from __future__ import annotations

import argparse
import cProfile
import math
import pstats
import random
import resource
import time
from dataclasses import dataclass, field

import numpy as np

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import Domain
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Action, Event, Finish, Finished, Profiled, Start
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import Purpose, TrialRequest
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.spaces.space import SearchSpace
from autoaccel.techniques.registry import catalog
from autoaccel.training.data.capabilities import CAPABILITIES
from autoaccel.tuner.loop import Loop
from benchmarks.search.ours import SPACE

NOISE = 0.2
RUNGS = 27
"""The final training's length in trials of the lowest rung."""
MEAN = 1.8
"""Mean length of a trial of the search in those of the lowest rung, to plan a run of so many trials."""
NUMBERS = 20
"""Hyperparameters of the plain space."""


@dataclass
class Watched:
    """Processor seconds of a search's decisions, which pass on the clock too.

    Args:
        search: The search.
        clock: The simulated clock.
        most: Number of trials after which it ends.
    """

    search: HalvingSearch
    clock: SimulatedClock
    most: int
    started: int = 0
    ended: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def handle(self, event: Event, now: float) -> list[Action]:
        """See `Search`."""
        begun = time.process_time()
        actions = self.search.handle(event, now)
        spent = time.process_time() - begun
        self.clock.advance_to(now + spent)
        starts = [a for a in actions if isinstance(a, Start) and a.request.purpose is not Purpose.FINAL]
        self.latencies.append(spent)
        self.started += len(starts)
        if starts or isinstance(event, Finished):
            self.ended = now
        return [Finish()] if self.started >= self.most else actions


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


def loss(request: TrialRequest, progress: float) -> float:
    """Return a loss in which each number of the recipe has its own best value, and longer trainings are better."""
    flat = request.recipe.flat()
    numbers = [value for key, value in sorted(flat.items()) if isinstance(value, float) and 0 <= value <= 1]
    lucky = random.Random(request.trial).gauss(0.0, 0.01)
    far = sum((value - 0.3) ** 2 for value in numbers) / max(1, len(numbers))
    return 1.0 + far + lucky + (max(1e-3, progress) * (request.budget.seconds or 1.0)) ** -0.3


def simulate(space: str, slots: int, trials: int, lowest: float, profile: cProfile.Profile | None) -> str:
    """Return a line of the table."""
    longest = RUNGS * lowest
    budget = Budget(seconds=longest + 2 * trials * MEAN * lowest / slots)
    facts = TaskFacts(
        kind="image", capabilities=frozenset(CAPABILITIES), metric="loss", maximize=False, n_train=64_000,
        n_valid=10_000, train=Cost(seconds=longest / 640_000),
    )  # fmt: skip
    settings = SearchSettings(spaces(space), budget, 0, 0.0, longest=Budget(seconds=longest))
    search, clock = HalvingSearch(settings), SimulatedClock(0.0)
    watched, machine = Watched(search, clock, trials), Machine(loss, clock, facts=facts)
    if profile:
        profile.enable()
    Loop(watched, machine, clock).run([Profiled(facts, slots)])  # type: ignore[arg-type]
    if profile:
        profile.disable()
    spent = np.array(watched.latencies) * 1000
    per_trial = spent.sum() / max(1, watched.started)
    last = np.array_split(spent, 5)[-1].sum() * 5 / max(1, watched.started)
    share = machine.busy / (slots * watched.ended) if watched.ended else math.nan
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = [f"{found:.1f}" for found in (per_trial, *np.quantile(spent, (0.5, 0.99)), spent.max(), last)]
    return (
        "| " + " | ".join([space, str(slots), str(watched.started), f"{share:.1%}", *times, f"{memory:.0f}"]) + " |"
    )


def main() -> None:
    """Print the table, a run a line, and where the time went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="plain,vision", help="Spaces by comma; plain: 20 numbers")
    parser.add_argument("--slots", default="1,8,256")
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=30.0, help="Of a trial on the lowest rung")
    parser.add_argument("--profile", action="store_true", help="Show the functions that take most")
    given = parser.parse_args()
    names = ("ms a trial", "a decision: median", "99 %", "most", "a trial, last fifth", "MB")
    print(f"| space | slots | trials | slots busy | {' | '.join(names)} |\n|" + " --- |" * 10)
    for space in given.space.split(","):
        for slots in map(int, given.slots.split(",")):
            profile = cProfile.Profile() if given.profile else None
            print(simulate(space, slots, given.trials, given.seconds, profile), flush=True)
            if profile:
                pstats.Stats(profile).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
