"""How many trials side by side, with how many threads each, finish most steps of plain training on these CPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import Machine
from autoaccel.core.recipe import PLAIN
from autoaccel.core.resources import Resources, Slots
from autoaccel.core.trial import PACED

MORE = 1.1
"""How many times as many steps more trials at a time have to finish: each of them takes longer."""
ROOM = 3.0
"""How many times as long as its steps should take a measurement may be: others compute beside it."""
LONG = 3.0
"""How many times as long as the shortest measurement one is at most."""
MEMORY = 0.5
"""Share of the available memory that trials side by side may take."""


@dataclass(frozen=True)
class Paced:
    """What a few trials side by side have shown.

    Args:
        paces: Seconds a step of each; 0 for one that could not tell.
        memory: The most bytes that one of them had for itself; 0 if unknown.
    """

    paces: Sequence[float]
    memory: float = 0.0

    @property
    def rate(self) -> float:
        """Steps a second of all together; 0 if one of them did not take any."""
        return sum(1 / pace for pace in self.paces) if all(self.paces) else 0.0


Measure = Callable[[Slots, float], Paced]
"""From places and seconds to what trials of these seconds have shown there."""


def choose(
    resources: Resources, machine: Machine, facts: TaskFacts, available: float, measure: Measure
) -> tuple[Slots, float]:
    """Return the places that finish most, and how many times as long a step takes there as with all CPUs.

    Args:
        resources: What the run asks for; `choosing` says how many seconds the choice may take.
        machine: What there is.
        facts: What plain training costs with all CPUs.
        available: Bytes of memory that are free.
        measure: Trains plainly for some seconds.
    """
    alone = resources.slots(machine)
    counts = _counts(machine.cpus)
    # What is slow at first takes about as long again with each of the others beside it.
    step = facts.train.seconds * facts.in_batch(float(str(PLAIN["plain"].batch_size.parameters["size"])))
    least = ROOM * (facts.setup.seconds + PACED * step)
    if resources.choosing < least * len(counts):
        counts = counts[:1] + counts[-1:]
    each = min(resources.choosing / len(counts), LONG * least)  # a month's budget has hours for it
    if each < least or len(counts) < 2:
        return alone, 1.0
    best, most, first = alone, 0.0, 0.0
    for count in counts:
        slots = replace(resources, workers=count).slots(machine)
        found = measure(slots, each)
        if not found.rate or found.rate < MORE * most:
            break
        best, most, first = slots, found.rate, first or found.rate
        if found.memory * 2 * count > MEMORY * available:
            break
    return best, best.count * first / most if most else 1.0


def slower(facts: TaskFacts, times: float) -> TaskFacts:
    """Return facts as they are where everything takes so many times as long."""
    parts = ("train", "evaluation", "resampling", "measuring", "setup")
    costs = {name: getattr(facts, name) for name in parts}
    return replace(facts, **{name: cost.replace(seconds=times * cost.seconds) for name, cost in costs.items()})


def _counts(cpus: int) -> list[int]:
    """Return 1, 2, 4, ... and the number of CPUs."""
    powers = [2**power for power in range(cpus.bit_length()) if 2**power < cpus]
    return [*powers, cpus] if cpus > 1 else [1]
