"""How busy a search keeps its slots within a budget, and what it reaches; see `benchmarks.search.slots`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Action, Event, Finish, Profiled, Start
from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.trial import Purpose
from autoaccel.search.base import SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.spaces.space import SearchSpace
from autoaccel.tuner.loop import Loop
from benchmarks.search.simulated_task import Machine, facts_of, loss, regret, spaces

COLUMNS = ("space", "slots", "trials", "slots busy", "search over", "above the best", "alone")


@dataclass
class UntilTheFinal:
    """A search that ends when its final training would start, with the processor time of decisions on the clock.

    Args:
        search: The search.
        clock: The simulated clock.

    Attributes:
        started: Number of its trials.
        ended: When the final training would start.
        chosen: What it would train.
    """

    search: HalvingSearch
    clock: SimulatedClock
    started: int = 0
    ended: float = 0.0
    chosen: Recipe = field(default_factory=lambda: PLAIN["plain"])

    def handle(self, event: Event, now: float) -> list[Action]:
        """See `Search`."""
        begun = time.process_time()
        actions = self.search.handle(event, now)
        self.clock.advance_to(now + time.process_time() - begun)
        self.ended = now
        for request in (action.request for action in actions if isinstance(action, Start)):
            if request.purpose in (Purpose.FINAL, Purpose.PACE):  # what times its steps belongs to it
                self.chosen = request.recipe
                return [Finish()]
            self.started += 1
        if self.search.phase not in ("search", "final training"):  # what was to be trained has been
            best = self.search.best()
            self.chosen = best.request.recipe if best else self.chosen
            return [Finish()]
        return actions


@dataclass(frozen=True)
class Found:
    """What a run did until its final training.

    Args:
        trials: Number of trials.
        share: Share of the slots' time that was busy.
        ended: When the final training would start, in seconds.
        final: How long it would be, as planned.
        regret: By how much the chosen recipe is worse than the best one.
    """

    trials: int
    share: float
    ended: float
    final: float
    regret: float


def run(space: SearchSpace, budget: float, slots: int, facts: TaskFacts, seed: int, longest: float = 0.0) -> Found:
    """Return what a run does until its final training, which is at most `longest` if that is given."""
    settings = SearchSettings(
        space, Budget(seconds=budget), seed, longest=Budget(seconds=longest) if longest else None
    )
    search, clock = HalvingSearch(settings), SimulatedClock(0.0)
    machine = Machine(lambda request, p: loss(request, p, seed), clock, facts=facts)
    watched = UntilTheFinal(search, clock)
    Loop(watched, machine, clock).run([Profiled(facts, slots)])  # type: ignore[arg-type]
    plan = search.plan
    assert plan is not None
    final = plan.trial_budget(plan.top).seconds or 0.0
    return Found(
        watched.started, machine.busy / (slots * watched.ended), watched.ended, final, regret(watched.chosen)
    )


def alone(space: SearchSpace, slots: int, facts: TaskFacts, seed: int, found: Found) -> Found:
    """Return what a search on one slot finds in as many device-seconds, before a final training as long."""
    search, budget = found.ended * slots, 0.0
    for _ in range(9):  # its plan keeps a share of the budget for evidence, if that pays two trainings or more
        kept = min(0.15 * budget, 16 * found.final)
        budget = search + found.final + (kept if kept >= 2 * found.final else 0.0)
    return run(space, budget, 1, facts, seed, longest=found.final)


def line(name: str, budget: Budget, slots: int, longest: float, seeds: int, compare: bool) -> str:
    """Return a line of the table: medians over seeds, and the range of what was reached."""
    space, facts, seconds = spaces(name), facts_of(longest), budget.seconds or 0.0
    runs = [run(space, seconds, slots, facts, seed) for seed in range(seeds)]
    others = [alone(space, slots, facts, seed, found) for seed, found in enumerate(runs)] if compare else []
    trials, share, ended = (
        np.median([getattr(found, of) for found in runs]) for of in ("trials", "share", "ended")
    )
    cells = [name, slots, f"{trials:.0f}", f"{share:.1%}", f"{ended / seconds:.1%}", _spread(runs), _spread(others)]
    return "| " + " | ".join(map(str, cells)) + " |"


def _spread(runs: list[Found]) -> str:
    values = [1000 * found.regret for found in runs]
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else "-"
