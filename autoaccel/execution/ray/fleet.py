"""The places of a run: asks for them, listens to all of them at once, and replaces those that are lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ray

from autoaccel.core.clock import Clock
from autoaccel.core.codec import from_data
from autoaccel.core.machine import Gpu
from autoaccel.core.quantities import format_seconds
from autoaccel.errors import MachineError, UsageError
from autoaccel.execution.ray import cluster
from autoaccel.execution.ray.handle import ROOM, Handle, LostPlaceError
from autoaccel.execution.ray.layout import Layout, describe
from autoaccel.execution.ray.messages import Said, Told, error_of

GLANCE = 1.0
"""Longest wait for Ray in seconds, after which deadlines are looked at."""
LATE = 10.0
"""Seconds past a limit after which a place that should have kept it counts as lost."""
FAILURES = 3
"""How many places in a row may fail to come up before none is replaced any more."""
CLOSING = 5.0
"""Seconds that places have to end what they run."""
GONE = "--resume goes on with the run when there are nodes again"


class Fleet:
    """The places.

    Args:
        layout: How many there are, and what each needs.
        told: Returns what a place is told, given its size and the seconds in which it must load the task.
        clock: Measures the deadlines.
        heard: Called with a place and what it says while it is up.
        lost: Called with a place that is gone, and why.

    Attributes:
        places: Those that were asked for and are not lost.
        catalog: The catalog of techniques, as plain data.
    """

    def __init__(
        self,
        layout: Layout,
        told: Callable[[int, float | None], Told],
        clock: Clock,
        heard: Callable[[Handle, Said], None],
        lost: Callable[[Handle, str], None],
    ):
        self._layout, self._told, self._clock, self._heard, self._lost = layout, told, clock, heard, lost
        self.places: list[Handle] = []
        self.catalog: list[Mapping[str, Any]] = []
        self._loaded = False
        self._limit: float | None = None
        self._failures = 0

    def load(self, limit: float | None) -> None:
        """Wait until all places have loaded the task.

        Args:
            limit: Seconds after which it is aborted; None for no limit.

        Raises:
            TaskError: If the task cannot be loaded.
            UsageError: If it took longer than the limit, or others use what was asked for.
            MachineError: If a place is lost.
        """
        begun = self._clock.now()
        self._limit = limit
        self.places = [Handle(self._told(size, limit), self._layout, size) for size in self._layout.sizes]
        while not all(place.up for place in self.places):
            self.listen(GLANCE)
            if not all(place.expected for place in self.places):
                room = sum(place.size for place in self.places if place.placed)
                raise UsageError(
                    f"Ray has room for {room} of {self._layout}: {describe(cluster.nodes())}, of which others use "
                    "some; --workers asks for fewer"
                )
            if limit is not None and self._clock.now() - begun > limit + LATE:
                raise UsageError(
                    "the budget is too small: the task was not loaded on all nodes within the "
                    f"{format_seconds(limit)} that it leaves for that"
                )
        self._loaded, self._limit = True, None

    def listen(self, timeout: float) -> None:
        """Take in what the places say; wait up to `timeout` seconds for it.

        Raises:
            MachineError: If there is no place left, nor room for another.
        """
        if not self.places:
            raise MachineError(f"no place of the Ray cluster is left to train in; {GONE}")
        if self._loaded and not any(place.expected for place in self.places):
            raise MachineError(f"Ray has had no room for a place for {format_seconds(ROOM)}; {GONE}")
        refs = {place.ref: place for place in self.places}
        done, _ = ray.wait(list(refs), timeout=timeout)
        if done:
            done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0)
        said, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0, fetch_local=False)
        for ref, place in refs.items():
            place.arriving = ref in said and ref not in done
        for ref in done:
            self._hear(refs[ref])
        now = self._clock.now()
        for place in list(self.places):
            try:
                place.look(now)
            except LostPlaceError as error:
                self.lose(place, str(error))
        self._divide()

    def lose(self, place: Handle, why: str) -> None:
        """Give up a place, and ask for another one.

        Raises:
            MachineError: If the task is yet to be loaded.
        """
        if place not in self.places:
            return
        self.places.remove(place)
        place.end()
        if not self._loaded:
            raise MachineError(why)
        self._failures = 0 if place.up else self._failures + 1
        if self._failures < FAILURES:
            self.places.append(Handle(self._told(place.size, None), self._layout, place.size))
        self._lost(place, why)

    def _divide(self) -> None:
        """Ask for two smaller places instead of one that no node has room for, if some have room for a part of it.

        Ray does not say what is free on each node. So if the smaller one finds no room either, it is divided next.
        """
        place = min((one for one in self.places if one.fits_nowhere), key=lambda one: one.size, default=None)
        if place is None or place.size == 1 or not (room := cluster.room(self._layout.bundle(1))):
            return
        self.places.remove(place)
        place.end()
        part = min(room, place.size - 1)
        for size in (part, place.size - part):
            self.places.append(Handle(self._told(size, self._limit), self._layout, size))

    def close(self) -> None:
        """Let all places end what they run, and kill them."""
        for place in self.places:
            if place.placed:
                place.tell("close")
        end = self._clock.now() + CLOSING
        left = [place for place in self.places if place.placed]
        while left and (timeout := end - self._clock.now()) > 0:
            done, _ = ray.wait([place.ref for place in left], timeout=timeout)
            left = [place for place in left if place.ref not in done or not place.closes()]
        for place in self.places:
            place.end()
        self.places.clear()

    def _hear(self, place: Handle) -> None:
        try:
            said = place.hear()
        except LostPlaceError as error:
            self.lose(place, str(error))
            return
        for each in said:
            if each.kind == "ready":
                self._begin(place, each.data)
            elif each.kind == "failed":
                if not self._loaded:
                    raise error_of(each.data, f"node {place.node:.8}" if len(self.places) > 1 else "")
                self.lose(place, str(error_of(each.data)))
            elif place in self.places:
                self._heard(place, each)

    def _begin(self, place: Handle, data: Mapping[str, Any]) -> None:
        place.up = True
        place.gpus = tuple(from_data(Gpu, gpu) for gpu in data["gpus"])
        self.catalog = data["catalog"]
