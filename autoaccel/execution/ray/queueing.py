"""Which of the trials that wait are started next, and in which places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import SECONDS, format_seconds
from autoaccel.core.trial import Purpose, TrialRequest
from autoaccel.execution.ray.handle import ROOM, Handle

SHARE = 0.05
"""Share of its time that a trial waits for a place that is yet to come, or `ROOM` if that is less."""
LEAST = 1.0
"""Seconds that a training has at least, however long it has waited."""


@dataclass(frozen=True)
class Waiting:
    """A trial that waits for a place.

    Args:
        request: Its request.
        since: The driver's clock when it was asked for.
    """

    request: TrialRequest
    since: float

    def needs(self, places: Iterable[Handle], now: float) -> int:
        """Return how many devices it waits for: those of the largest place, if none has all, or will have soon."""
        most = None if self.request.purpose is Purpose.PACE else self.request.budget.seconds
        hopes = now - self.since <= (min(ROOM, SHARE * (most - self.request.carried.seconds)) if most else ROOM)
        sizes = [place.size for place in places if place.up or (hopes and place.expected)]
        return min([self.request.devices, *([max(sizes)] if sizes else [])])

    def placed(self, size: int, now: float) -> tuple[TrialRequest, str]:
        """Return its request for a place of this size, and what is another than was asked for, for display.

        A final training is to end when it would have ended without waiting. One that only delivers weights takes
        no time for more.
        """
        request, waited, why = self.request, now - self.since, []
        if request.devices > size:
            why.append(f"on {size} of {request.devices} devices, since no place has all")
            request = replace(request, devices=size, processes=min(size, request.processes))
        if (seconds := request.budget.seconds) and request.purpose is Purpose.FINAL and not request.rescue:
            left = max(min(seconds, request.carried.seconds + LEAST), seconds - waited)
            request = replace(request, budget=Budget({**request.budget, SECONDS: left}))
            if waited >= LEAST:
                why.append(f"shorter by the {format_seconds(waited)} for which it has waited for a place")
        return request, "; ".join(why)


def startable(waiting: Iterable[Waiting], places: Sequence[Handle], now: float) -> Iterator[tuple[Waiting, Handle]]:
    """Yield the trials that a place has devices for, with that place, in their order.

    A trial is started in the fullest place, so that others have room for what needs more of them. One that no place
    has room for yet has the emptiest for itself: as long as there are smaller trials, it would never be free.

    Args:
        waiting: The trials, the one that has waited longest first.
        places: All places. A trial that is yielded has to be started before the next one is asked for.
        now: The driver's clock.
    """
    left = [place for place in places if place.up]
    for trial in waiting:
        needed = trial.needs(places, now)
        suited = [place for place in left if place.size >= needed]
        free = [place for place in suited if place.free >= needed]
        if free:
            yield trial, min(free, key=lambda place: place.free)
        elif suited:
            left.remove(max(suited, key=lambda place: place.free))
