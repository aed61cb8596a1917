"""Which of the trials that wait are started next, and in which places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import SECONDS
from autoaccel.core.trial import Purpose, TrialRequest
from autoaccel.execution.ray.handle import Handle

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

    def after(self, now: float) -> TrialRequest:
        """Return its request at last: a final training is to end when it would have ended without waiting."""
        request, seconds = self.request, self.request.budget.seconds
        if request.purpose is not Purpose.FINAL or not seconds:
            return request
        left = max(min(seconds, request.carried.seconds + LEAST), seconds - (now - self.since))
        return replace(request, budget=Budget({**request.budget, SECONDS: left}))


def startable(waiting: Iterable[Waiting], places: Sequence[Handle]) -> Iterator[tuple[Waiting, Handle]]:
    """Yield the trials that a place has devices for, with that place, in their order.

    A trial is started in the fullest place, so that others have room for what needs more of them. One that no place
    has room for yet has the emptiest for itself: as long as there are smaller trials, it would never be free. Where
    no place is large enough, nor expected to be there soon, a trial gets what there is.

    Args:
        waiting: The trials, the one that has waited longest first.
        places: All places. A trial that is yielded has to be started before the next one is asked for.
    """
    left = [place for place in places if place.up]
    most = max((place.size for place in places if place.expected), default=0)
    for each in waiting:
        request = each.request
        suited = [place for place in left if place.size >= min(request.devices, most)]
        free = [place for place in suited if place.free >= place.devices(request)]
        if free:
            yield each, min(free, key=lambda place: place.free)
        elif suited:
            left.remove(max(suited, key=lambda place: place.free))
