"""A place as the driver sees it: a placement group, the actor in it, and whether it answers."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from autoaccel.core.machine import Gpu
from autoaccel.core.quantities import format_seconds
from autoaccel.core.trial import Report, TrialRequest
from autoaccel.execution.ray.layout import Layout
from autoaccel.execution.ray.messages import Said, Told
from autoaccel.execution.ray.place import CALLS, Place

HEARTBEAT = 5.0
"""Seconds after which a place says that it has nothing to say."""
QUIET = 30.0
"""Seconds of silence after which a place counts as lost."""
STARTING = 300.0
"""Seconds that it has for its first word, and files for their way: those of the task may be sent to its node."""
ROOM = 60.0
"""Seconds that places are waited for while others use the cluster."""
FITTING = 10.0
"""Seconds after which a place is divided that no node has room for, while some have room for a part of it."""
LONGEST_GLANCE = 2.0
"""Seconds of silence that one look may add: a driver that was stopped itself has not listened."""


class LostPlaceError(Exception):
    """A place is gone, or does not answer. The message is one line."""


@dataclass
class Running:
    """A trial in a place.

    Args:
        request: Its request.
        started: The driver's clock when it was started.
        changed: What is another than was asked for, for display.
        preempted: Whether it was asked to leave a checkpoint and stop.
        overdue: Whether its place should have ended it, and did not.
        latest: Its last evaluation.
        fetch_at: The driver's clock when its next checkpoint is to be fetched; infinity while one is on its way.
        asked_at: The driver's clock when that one was asked for.
        took: Seconds that the last one was on its way.
    """

    request: TrialRequest
    started: float
    changed: str = ""
    preempted: bool = False
    overdue: bool = False
    latest: Report | None = None
    fetch_at: float = 0.0
    asked_at: float = 0.0
    took: float = 0.0

    @property
    def ends_at(self) -> float:
        """The driver's clock when its budget is used up; infinity if that is not known."""
        seconds = self.request.budget.seconds
        return self.started + seconds - self.request.carried.seconds if seconds else math.inf

    @property
    def late_at(self) -> float:
        """The driver's clock from which its place ends it; infinity for never."""
        if self.request.grace is None:
            return math.inf
        return (self.ends_at if self.request.budget.seconds else self.started) + self.request.grace


@dataclass
class Handle:
    """A place that has been asked for.

    Args:
        told: What it is told at its beginning.
        layout: The resources that it needs.
        size: How many trials run there side by side; one trial may have all of it.

    Attributes:
        ref: What it says next.
        placed: Whether there is room for it.
        up: Whether it has loaded the task.
        node: Ray's name of the node that it is on, once there is room.
        gpus: Its GPUs, once it is up.
        running: The trials that it runs, by number.
        arriving: Whether it has said something that is not here yet: files may be large.
        answered: The driver's clock, or a bit earlier, when it was asked for what it has said last. Trials that had
            ended by then are known to have.
        silent: Seconds for which it was listened to in vain.
        waited: Seconds for which it was waited for room.
    """

    told: Told
    layout: Layout
    size: int
    placed: bool = False
    up: bool = False
    node: str = ""
    gpus: tuple[Gpu, ...] = ()
    running: dict[int, Running] = field(default_factory=dict)
    arriving: bool = False
    answered: float = 0.0
    silent: float = 0.0
    waited: float = 0.0
    ref: Any = None
    _group: Any = None
    _actor: Any = None
    _sent: int = 0
    _looked: float | None = field(default=None, init=False)
    _asked: float = field(default=0.0, init=False)
    _coming: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        bundle = self.layout.bundle(self.size)
        self._group = placement_group([bundle], strategy="STRICT_PACK")
        self._actor = (
            ray.remote(Place)
            .options(
                num_cpus=bundle.get("CPU", 0),
                num_gpus=bundle.get("GPU", 0),
                max_restarts=0,  # the only rule for trying again is that of the search
                max_task_retries=0,
                max_concurrency=CALLS,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, 0),
            )
            .remote(self.told)
        )
        self.ref = self._actor.hear.remote(HEARTBEAT)

    def hear(self) -> list[Said]:
        """Return what the place has said, once `ref` is there, and go on listening.

        Raises:
            LostPlaceError: If it is lost.
        """
        try:
            heard = ray.get(self.ref)
            self.silent = self._coming = 0.0
            self.answered, self._asked = self._asked, self._looked or 0.0
            self._find()
            self.ref = self._actor.hear.remote(HEARTBEAT)
        except RayError as error:
            raise LostPlaceError(self._why(error)) from error
        return list(heard)

    def tell(self, *command: Any) -> None:
        """Send a command; if the place is gone, `hear` says so."""
        self._actor.tell.remote(self._sent, *command)
        self._sent += 1

    def look(self, now: float) -> None:
        """Note that time has passed.

        Raises:
            LostPlaceError: If it does not answer any more.
        """
        passed = min(LONGEST_GLANCE, now - (now if self._looked is None else self._looked))
        self._looked = now
        if not self.placed:
            self.waited += passed
            self._find()
            return
        self._coming = self._coming + passed if self.arriving else 0.0
        self.silent = 0.0 if self.arriving else self.silent + passed
        if self._coming > STARTING:
            raise LostPlaceError(f"what {self._name} has sent has not arrived for {format_seconds(self._coming)}")
        if self.silent > (QUIET if self.up else STARTING):
            raise LostPlaceError(f"{self._name} has not answered for {format_seconds(self.silent)}")

    @property
    def expected(self) -> bool:
        """Whether it is there, or has not been waited for in vain."""
        return self.placed or self.waited <= ROOM

    @property
    def fits_nowhere(self) -> bool:
        """Whether no node has had room for it."""
        return not self.placed and self.waited > FITTING

    @property
    def free(self) -> int:
        """How many of its devices no trial has."""
        return self.size - sum(running.request.devices for running in self.running.values())

    def end(self) -> None:
        """Kill the actor, and free what is reserved."""
        with suppress(RayError, ValueError):
            ray.kill(self._actor)
        with suppress(RayError, ValueError):
            remove_placement_group(self._group)

    @property
    def _name(self) -> str:
        return f"the place on node {self.node:.8}" if self.node else "a place"

    def _find(self) -> None:
        """Find out whether there is room for it, and where."""
        if not self.placed:
            table = placement_group_table(self._group)
            if table.get("state") == "CREATED":
                self.placed, self.node = True, table["bundles_to_node_id"][0]

    def _why(self, error: RayError) -> str:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = lines[-1] if lines else type(error).__name__
        return f"{self._name} was lost: {cause}"

    def closes(self) -> bool:
        """Return whether the place has ended everything, once `ref` is there; else go on listening."""
        try:
            return any(said.kind == "closed" for said in self.hear())
        except LostPlaceError:
            return True
