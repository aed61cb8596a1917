"""The driver: an executor that runs trials in places on the nodes of a Ray cluster.

It imports neither torch nor the user's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from autoaccel.core import checkpoints
from autoaccel.core.catalog import TechniqueInfo
from autoaccel.core.clock import Clock
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.events import Event, Finished, Reported
from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import Machine
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Resources, Slots
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Report, TrialRequest, estimated_cost
from autoaccel.errors import MachineError, TaskError
from autoaccel.execution.ray import cluster
from autoaccel.execution.ray.fetching import Fetcher
from autoaccel.execution.ray.files import trial_folder, unpack
from autoaccel.execution.ray.fleet import GLANCE, LATE, Fleet
from autoaccel.execution.ray.handle import Handle, Running
from autoaccel.execution.ray.host import SENT_WEIGHTS
from autoaccel.execution.ray.layout import lay_out, whole_machine
from autoaccel.execution.ray.messages import Said, error_of
from autoaccel.execution.ray.queueing import Waiting, startable
from autoaccel.execution.ray.shipping import Shipping

ATTEMPTS = 2
"""How often a measurement is tried whose place is lost, which is nothing of its doing."""


class RayExecutor:
    """An executor that runs trials on the nodes of a Ray cluster, as many in each place as its node has devices.

    Args:
        task: A reference to the user's task.
        resources: The number of trials and settings of the workers.
        clock: Measures the deadlines.
        folder: The run folder, where each trial gets a folder `trials/NNNN`.

    Attributes:
        machine: What the cluster has, once the task is loaded.
        slots: How many trials run side by side there.
    """

    def __init__(self, task: TaskRef, resources: Resources, clock: Clock, folder: Path):
        self._resources, self._clock, self._folder = resources, clock, folder.absolute()
        self._shipping, self._fetcher = Shipping(task, self._folder), Fetcher(self._folder, clock)
        self.machine, self.slots = Machine(), Slots()
        self._fleet: Fleet | None = None
        self._connected = False
        self._waiting: dict[int, Waiting] = {}
        self._news: list[Event] = []
        self._answer: Said | None = None

    def load(self, limit: float | None) -> dict[str, TechniqueInfo]:
        """Connect to Ray, load the task in all places, and return the catalog of techniques.

        Args:
            limit: Seconds after which it is aborted; None for no limit.

        Raises:
            TaskError: If the task cannot be loaded.
            UsageError: If it took longer than the limit, or the cluster has not what was asked for.
            MachineError: If Ray or a node fails.
        """
        begun = self._clock.now()
        cluster.connect(self._resources, self._shipping.runtime_env(cluster.address()))
        self._connected = True
        nodes = cluster.nodes()
        layout = lay_out(nodes, self._resources)

        def told(size: int, limit: float | None) -> Any:
            return self._shipping.told(self._resources, layout, size, limit)

        self._fleet = fleet = Fleet(layout, told, self._clock, self._hear, self._lose)
        fleet.load(None if limit is None else max(0.1, limit - (self._clock.now() - begun)))
        where = {node.name: node.address for node in nodes}
        gpus = [
            (place.node, replace(gpu, name=f"{where.get(place.node, place.node)}/{gpu.name}"))
            for place in fleet.places
            for gpu in place.gpus
        ]
        self.machine = whole_machine(nodes, gpus)
        names, sizes = tuple(gpu for _, gpu in gpus), tuple(place.size for place in fleet.places)
        self.slots = Slots(layout.count, layout.threads, names, layout.idle, layout.most, sizes)
        return {data["name"]: from_data(TechniqueInfo, data) for data in fleet.catalog}

    def profile(self, limit: float | None) -> tuple[TaskFacts, Mapping[str, Any]]:
        """Measure the task in a place; return its facts and the search space of the user's model.

        Args:
            limit: Seconds after which the profile is killed; None for no limit.

        Raises:
            TaskError: If the task cannot be trained, or not within the limit.
            MachineError: If the places are lost in which it is measured.
        """
        facts, space = self._measure("profile", limit)
        understood = self._shipping.understood()
        for place in self._places():  # those that are yet to come, too
            place.tell("keep", understood)
        return from_data(TaskFacts, facts), space

    def identify(self, limit: float | None) -> tuple[str, Mapping[str, str]]:
        """Return digests of the data and, by path, of the task's own files, as a place finds them.

        Raises:
            TaskError: If it fails, or takes longer than the limit.
            MachineError: If the places are lost in which it is measured.
        """
        data, files = self._measure("identify", limit)
        return data, files

    def score(self, recipe: Recipe, weights: Path, limit: float | None) -> Mapping[str, Any]:
        """Score a trial's weights on the test set, in a place.

        Raises:
            TaskError: If it fails, or takes longer than the limit.
            MachineError: If the places are lost in which it is measured.
        """
        files = {SENT_WEIGHTS: self._shipping.weights(weights.absolute())}
        scored: Mapping[str, Any] = self._measure("score", limit, files, recipe=recipe.to_data())
        return scored

    def start(self, request: TrialRequest) -> None:
        """Start a trial, as soon as a place has the devices that it needs."""
        self._waiting[request.trial] = Waiting(request, self._clock.now())
        self._fill()

    def proceed(self, trial: int) -> None:
        """Let a trial that waits after a report continue."""
        self._tell(trial, "proceed")

    def stop(self, trial: int) -> None:
        """Ask a trial to stop at its next step; its place kills it if it does not."""
        self._tell(trial, "stop")
        self._drop(trial, Outcome(OutcomeKind.PRUNED, reason="stopped"))

    def preempt(self, trial: int) -> None:
        """Ask a trial to save a checkpoint and stop at its next step; its place kills it if it does not."""
        if running := self._tell(trial, "preempt"):
            running.preempted = True
        self._drop(trial, Outcome(OutcomeKind.PREEMPTED, reason="the run was asked to end"))

    def finish_early(self, trial: int) -> None:
        """Ask a trial to finish early; one without a place ends."""
        self._tell(trial, "finish_early")
        self._drop(trial, Outcome(OutcomeKind.PRUNED, reason="asked to finish before its first step"))

    def poll(self, timeout: float) -> list[Event]:
        """Return the events since the last call; wait up to `timeout` seconds for the first one.

        Raises:
            MachineError: If no node is left to train on.
            StoreError: If what a trial has left cannot be written to the run folder.
        """
        end = self._clock.now() + timeout
        while not self._news:
            left = end - self._clock.now()
            self._listen(max(0.0, min(left, GLANCE)))
            self._fill()
            if left <= 0:
                break
        events, self._news = self._news, []
        return events

    def close(self) -> None:
        """End everything that is still running, and the connection to Ray."""
        if self._connected:
            self._connected = False
            try:
                if self._fleet:
                    self._fleet.close()
            finally:
                ray.shutdown()

    def _places(self) -> list[Handle]:
        return self._fleet.places if self._fleet else []

    def _listen(self, timeout: float) -> None:
        """Listen to the places, and give up those that do not keep the limits of their trials."""
        assert self._fleet is not None
        self._fleet.listen(timeout)
        for place in list(self._fleet.places):
            late = [one for one in place.running.values() if one.late_at + LATE < place.answered]
            for running in late:
                running.overdue = True
            if late:
                self._fleet.lose(place, "did not end in time, and its place did not end it")
            else:
                self._fetcher.ask(place)

    def _fill(self) -> None:
        """Start trials that wait, as far as there are places for them."""
        now = self._clock.now()
        for waiting, place in startable([*self._waiting.values()], self._places(), now):
            trial = waiting.request.trial
            del self._waiting[trial]
            if waiting.request.purpose is Purpose.PACE and waiting.request.devices > place.size:
                outcome = Outcome(OutcomeKind.INFEASIBLE, reason=f"no place has {waiting.request.devices} devices")
                self._news.append(Finished(trial, outcome))
                continue
            request, changed = waiting.placed(place.size, now)
            sent, files = self._shipping.needed(request)
            place.running[trial] = Running(request, now, changed)
            place.tell("start", to_data(sent), files)

    def _tell(self, trial: int, word: str) -> Running | None:
        place = next((place for place in self._places() if trial in place.running), None)
        if place is None:
            return None
        place.tell(word, trial)
        return place.running[trial]

    def _drop(self, trial: int, outcome: Outcome) -> None:
        """End a trial that still waits for a place."""
        if self._waiting.pop(trial, None):
            self._news.append(Finished(trial, outcome))

    def _hear(self, place: Handle, said: Said) -> None:
        if said.kind == "fetched":
            self._fetcher.take(place, said)
            return
        unpack(self._folder, said.files)
        data = said.data
        if said.kind in ("answer", "refused"):
            self._answer = said
        elif "report" in data:
            report = from_data(Report, data["report"])
            place.running[report.trial].latest = report
            self._news.append(Reported(report))
        elif "outcome" in data:
            outcome, running = from_data(Outcome, data["outcome"]), place.running.pop(data["trial"])
            if outcome.kind is OutcomeKind.COMPLETE:
                outcome = replace(outcome, reason=outcome.reason or running.changed)
            self._news.append(Finished(data["trial"], outcome))

    def _lose(self, place: Handle, why: str) -> None:
        """End the trials of a place that is lost."""
        for running in place.running.values():
            request = running.request
            saved = checkpoints.saved(trial_folder(self._folder, request.trial))
            cost = estimated_cost(request, running.latest, self._clock.now() - running.started, saved)
            ended = OutcomeKind.PREEMPTED if running.preempted else OutcomeKind.LOST
            kind = OutcomeKind.TIMED_OUT if running.overdue else ended
            self._news.append(Finished(request.trial, Outcome(kind, cost, reason=why, saved=saved)))

    def _measure(
        self, name: str, limit: float | None, files: Mapping[str, Any] | None = None, **fields: Any
    ) -> Any:
        for _ in range(ATTEMPTS):
            if answer := self._measured(name, limit, fields, files or {}):
                if answer.kind == "refused":
                    raise error_of(answer.data)
                return answer.data
        raise MachineError(f"{ATTEMPTS} places were lost in which the task was measured")

    def _measured(
        self, name: str, limit: float | None, fields: Mapping[str, Any], files: Mapping[str, Any]
    ) -> Said | None:
        """Return the answer of a place that is free; None if it is lost."""
        assert self._fleet is not None
        while not (free := [place for place in self._fleet.places if place.up and not place.running]):
            self._listen(GLANCE)
        place, begun, self._answer = free[0], self._clock.now(), None
        place.tell("measure", name, limit, fields, files)
        while self._answer is None and place in self._fleet.places:
            self._listen(GLANCE)
            if limit is not None and self._clock.now() - begun > limit + LATE:
                self._fleet.lose(place, "did not answer")
                raise TaskError("measuring the task took longer than the budget allows")
        return self._answer
