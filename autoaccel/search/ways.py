"""In how many processes, on how many devices, the final training runs: as many as make its steps faster.

A few steps are timed of each way that may be the best one. Measured are steps of the recipe's own batch, of which
each process computes a part: more processes are no use where the parts become too small, or talking takes too long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoaccel.core.recipe import Recipe
from autoaccel.core.records import Trials
from autoaccel.core.trial import OutcomeKind, Purpose, TrialRequest

TRIES = 2
"""How often a way is tried whose processes die."""
FASTER = 0.97
"""Share of a step's time that a way with more processes may take: a small gain may be luck, and is worth little."""


@dataclass(frozen=True, order=True)
class Way:
    """How a training uses the devices of a run.

    Args:
        devices: How many it has, or of the places on the CPUs.
        processes: How many processes share each batch.
    """

    devices: int = 1
    processes: int = 1

    def __str__(self) -> str:
        """Return it for display, such as `4 processes`."""
        return f"{self.processes} process{'es' if self.processes > 1 else ''}"

    @classmethod
    def of(cls, request: TrialRequest) -> Way:
        """Return the way of a trial."""
        return cls(request.devices, request.processes)


def ways(count: int, gpus: bool) -> tuple[Way, ...]:
    """Return the ways to use so many devices: those with the fewest processes first.

    Args:
        count: How many GPUs, or places on the CPUs.
        gpus: Whether they are GPUs; on the CPUs one process may use the threads of all places.
    """
    if not gpus:
        return (Way(count, 1), Way(count, count)) if count > 1 else (Way(),)
    counts = [count]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return tuple(Way(each, each) for each in reversed(counts))


class Paces:
    """What is known of the steps of a recipe in each way.

    Args:
        trials: The trials of the run.
        recipe: The recipe.
        options: The ways, those with the fewest processes first.
        timed: Whether the time of a step decides; if not, as many processes share a batch as can.
    """

    def __init__(self, trials: Trials, recipe: Recipe, options: Sequence[Way], timed: bool = True):
        self._options, self._timed = options, timed
        self._seconds: dict[Way, float] = {}
        self._lost: dict[Way, int] = {}
        for record in trials.of(Purpose.PACE):
            if record.request.recipe == recipe and record.outcome is not None:
                self._note(Way.of(record.request), record.outcome.kind, record.outcome.pace)

    def _note(self, way: Way, kind: OutcomeKind, pace: float) -> None:
        if kind in (OutcomeKind.PREEMPTED, OutcomeKind.PRUNED):
            return
        self._lost[way] = self._lost.get(way, 0) + (kind is OutcomeKind.LOST)
        if kind is not OutcomeKind.LOST or self._lost[way] >= TRIES:
            works = kind is OutcomeKind.COMPLETE and pace > 0
            self._seconds[way] = pace if works else math.inf

    def missing(self) -> Way | None:
        """Return the way to measure next, from the one with most processes on; None if enough is known."""
        for more, fewer in zip(self._options[::-1], self._options[-2::-1], strict=False):
            for way in (more, fewer) if self._timed else (more,):
                if way not in self._seconds:
                    return way
            if self._better(more, fewer):
                return None  # still fewer would be slower still
        return None

    def best(self) -> Way:
        """Return the way that was measured to be the best one; the one with the fewest processes if none was."""
        found = self._options[0]
        for way in self._options[1:]:
            if self._seconds.get(way, math.inf) < math.inf and self._better(way, found):
                found = way
        return found

    def seconds(self, way: Way) -> float | None:
        """Return what a step takes in a way; infinity where it does not work, None if that is unknown."""
        return self._seconds.get(way)

    def speed(self) -> float:
        """Return how many times as fast the best way is as one device; in proportion where that is unknown."""
        best, one = self.best(), self._options[0]
        known = [self._seconds.get(way, math.inf) for way in (one, best)]
        return known[0] / known[1] if one.devices == 1 and max(known) < math.inf else float(best.devices)

    def _better(self, more: Way, fewer: Way) -> bool:
        seconds = self._seconds[more]
        if not self._timed:
            return seconds < math.inf
        return seconds < FASTER * self._seconds.get(fewer, math.inf)
