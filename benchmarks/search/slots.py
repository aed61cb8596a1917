"""How busy a search keeps many slots, and what its decisions cost.

    python -m benchmarks.search.slots --space vision --slots 1,8,256 --trials 5000
    python -m benchmarks.search.slots --space plain --slots 1,2,8,64 --budget 4h --seeds 5

Trials are simulated, their cost is noisy, and the processor time of each decision passes on the simulated clock, in
which all slots that wait for it are idle. A trial of the lowest rung takes `--seconds`.

With `--budget`, runs are planned as with that budget, and end when the final training would start. Until then
slots count as busy or idle. What is reached is by how much the chosen recipe's loss is above the best one's, in
thousandths and without noise; beside it is what one slot reaches in as many device-seconds, before a final training
as long.
"""

from __future__ import annotations

import argparse
import cProfile
import math
import pstats
import resource
import time
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from autoaccel.core.budget import Budget, parse_budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Action, Event, Finish, Finished, Profiled, Start
from autoaccel.core.trial import Purpose
from autoaccel.search.base import SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.tuner.loop import Loop
from benchmarks.search.simulated_task import Machine, facts_of, loss, spaces
from benchmarks.search.slots_in_budget import COLUMNS, line

RUNGS = 27
"""The final training's length in trials of the lowest rung."""
MEAN = 1.8
"""Mean length of a trial of the search in those of the lowest rung, to plan a run of so many trials."""


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


def simulate(space: str, slots: int, trials: int, lowest: float, profile: cProfile.Profile | None) -> str:
    """Return a line of the table."""
    longest = RUNGS * lowest
    budget = Budget(seconds=longest + 2 * trials * MEAN * lowest / slots)
    facts = facts_of(longest)
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
    parser.add_argument("--budget", help="Of a run, such as 4h; else a run has so many trials")
    parser.add_argument("--seeds", type=int, default=1, help="Runs with the budget")
    parser.add_argument("--alone", action="store_true", help="With the budget, compare with one slot")
    parser.add_argument("--profile", action="store_true", help="Show the functions that take most")
    given = parser.parse_args()
    slots = [*map(int, given.slots.split(","))]
    if given.budget:
        print(f"| {' | '.join(COLUMNS)} |\n|" + " --- |" * len(COLUMNS))
        for name, count in product(given.space.split(","), slots):
            longest = RUNGS * given.seconds
            print(line(name, parse_budget(given.budget), count, longest, given.seeds, given.alone), flush=True)
        return
    names = ("ms a trial", "a decision: median", "99 %", "most", "a trial, last fifth", "MB")
    print(f"| space | slots | trials | slots busy | {' | '.join(names)} |\n|" + " --- |" * 10)
    for space, count in product(given.space.split(","), slots):
        profile = cProfile.Profile() if given.profile else None
        print(simulate(space, count, given.trials, given.seconds, profile), flush=True)
        if profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
