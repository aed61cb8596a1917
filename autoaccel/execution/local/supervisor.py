"""The supervisor: runs trials and measurements as processes of a crew, and says how they ended.

It imports neither torch nor the user's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import psutil

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import TechniqueInfo
from autoaccel.core.clock import Clock
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.events import Event, Finished, Reported
from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import Machine
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.resources import Resources, Slots
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.execution.base import UNDERSTOOD
from autoaccel.execution.local.asked import Asked
from autoaccel.execution.local.crew import GLANCE, Crew, Ended
from autoaccel.execution.local.job import Job
from autoaccel.execution.local.patience import PATIENCE, Patience, own_memory
from autoaccel.execution.local.sizing import Paced, choose, slower
from autoaccel.execution.pool import DevicePool

PROFILE = -1


class Supervisor:
    """An executor that runs trials as processes.

    Args:
        task: A reference to the user's task.
        resources: The devices and settings of the workers.
        clock: Measures the deadlines of trials.
        folder: The run folder, where each trial gets a folder `trials/NNNN`.

    Attributes:
        machine: What there is to train on, once the task is loaded.
        slots: How many trials run side by side there; the profile may change that.
    """

    patience: ClassVar[Patience] = PATIENCE

    def __init__(self, task: TaskRef, resources: Resources, clock: Clock, folder: Path):
        self._resources = resources
        self._clock = clock
        self._target = task.target
        self._folder = folder.absolute()  # the user's file may leave the folder that it is imported in
        self.machine, self.slots = Machine(), Slots()
        self._pool = DevicePool(self.slots.devices)
        self._waiting: dict[int, Asked] = {}
        self._news: list[Event] = []
        self._measurements: dict[int, Ended] = {}
        load = {
            "target": task.target,
            "pickled": task.pickled,
            "seed": resources.split_seed,
            "cpu": resources.cpu,
            "metrics": [resources.metric, *resources.measure],
        }
        self._crew = Crew(load, self._folder / "import.txt", clock, self.patience)

    def load(self, limit: float | None) -> dict[str, TechniqueInfo]:
        """Wait until the fork server is ready; find out what there is, and return the catalog of techniques.

        Args:
            limit: Seconds after which the import is aborted; None for no limit.

        Raises:
            TaskError: If the user's file cannot be loaded, or hangs.
            UsageError: If it took longer than the limit, or there are no such devices as were asked for.
            MachineError: If the process that loads it was killed, or torch cannot use the GPUs.
        """
        ready = self._crew.load(limit)
        self.machine = from_data(Machine, ready["machine"])
        self.slots = self._resources.slots(self.machine)
        self._pool = DevicePool(self.slots.devices)
        return {data["name"]: from_data(TechniqueInfo, data) for data in ready["catalog"]}

    def profile(self, limit: float | None) -> tuple[TaskFacts, Mapping[str, Any]]:
        """Measure the task; return its facts and the search space of the user's model.

        Args:
            limit: Seconds after which the profile is killed; None for no limit.

        Raises:
            TaskError: If the task cannot be trained, or not within the limit.
        """
        message = self._measure("profile", "facts", limit)[-1]
        facts = from_data(TaskFacts, message["facts"])
        return self._divide(facts), message["model_space"]

    def _divide(self, facts: TaskFacts) -> TaskFacts:
        """Divide the CPUs among trials as finishes most, where nobody has said how; return what they cost then."""
        # Not on an accelerator that is no GPU either, of which there is one.
        on_cpus = facts.device.startswith("cpu") and not self.slots.gpus
        if not on_cpus or self._resources.workers is not None or not self._resources.choosing:
            return facts
        available = psutil.virtual_memory().available

        def measure(slots: Slots, seconds: float) -> Paced:
            return self._paced(slots, seconds, facts.micro_batch)

        slots, times = choose(self._resources, self.machine, facts, available, measure)
        self.slots, self._pool = slots, DevicePool(slots.devices)
        return facts if times == 1 else slower(facts, times)

    def _paced(self, slots: Slots, seconds: float, micro_batch: int) -> Paced:
        """Train plainly in all of some places at once, and return how fast."""
        self.slots, self._pool = slots, DevicePool(slots.devices)
        numbers, memory = [PROFILE - 1 - place for place in range(slots.count)], 0.0
        for number in numbers:
            budget, recipe = Budget(seconds=seconds), PLAIN["plain"]
            request = TrialRequest(number, recipe, budget, Purpose.PACE, micro_batch=micro_batch)
            fields = {"job": "trial", "request": to_data(request), "folder": ""}
            self._ask(Asked(number, self._folder / "profile.txt", 2 * seconds, fields, request))
        while not set(numbers) <= self._measurements.keys():
            self._crew.listen(GLANCE)
            self._collect()
            memory = max([memory, *(own_memory(job.pid) for job in self._crew.jobs.values())])
        ended = [self._measurements.pop(number) for number in numbers]
        outcomes = [one.job.outcome(self._clock.now(), one.why) for one in ended]
        return Paced([outcome.pace for outcome in outcomes], memory)

    def identify(self, limit: float | None) -> tuple[str, Mapping[str, str]]:
        """Return digests of the data and, by path, of the task's own files.

        Raises:
            TaskError: If it fails, or takes longer than the limit.
        """
        message = self._measure("identify", "identity", limit)[-1]
        return message["data"], message["files"]

    def check(self, limit: float | None) -> Mapping[str, Any]:
        """Rehearse the task.

        Returns:
            The `lines` of what was understood, the `names` of its classes, and the digests of `identify`, as `data`
            and `files`.

        Args:
            limit: Seconds after which it is killed; None for no limit.

        Raises:
            TaskError: If a step of the rehearsal fails, or takes longer than the limit.
        """
        return self._measure("check", "checked", limit)[-1]

    def sizes(self) -> list[Mapping[str, Any]]:
        """Measure the cost of a training step by batch size.

        Raises:
            TaskError: If the task cannot be trained.
        """
        return [m["size"] for m in self._measure("sizes", "sizes", None) if m["kind"] == "size"]

    def score(self, recipe: Recipe, weights: Path, limit: float | None) -> Mapping[str, Any]:
        """Score a trial's weights on the test set; see `training.scoring`.

        Raises:
            TaskError: If it fails, or takes longer than the limit.
        """
        return self._measure("score", "score", limit, recipe=recipe.to_data(), weights=str(weights.absolute()))[-1]

    def start(self, request: TrialRequest) -> None:
        """Start a trial in processes of its own, as soon as the devices that it needs are free."""
        most = (request.budget.seconds or request.carried.seconds) - request.carried.seconds
        limit = None if request.grace is None else most + request.grace
        folder = self.trial_folder(request.trial)
        fields = {"job": "trial", "request": to_data(request), "folder": str(folder)}
        self._ask(Asked(request.trial, folder / "log.txt", limit, fields, request))

    def proceed(self, trial: int) -> None:
        """Let a trial that waits after a report continue."""
        if job := self._crew.jobs.get(trial):
            job.tell("proceed")

    def stop(self, trial: int) -> None:
        """Ask a trial to stop at its next step; it is killed if it does not."""
        if job := self._crew.jobs.get(trial):
            job.ask(self._clock.now())
        self._drop(trial, Outcome(OutcomeKind.PRUNED, reason="stopped"))

    def preempt(self, trial: int) -> None:
        """Ask a trial to save a checkpoint and stop at its next step; it is killed if it does not."""
        if job := self._crew.jobs.get(trial):
            job.ask(self._clock.now(), "preempt")
        self._drop(trial, Outcome(OutcomeKind.PREEMPTED, reason="the run was asked to end"))

    def finish_early(self, trial: int) -> None:
        """Ask a trial to finish early: one whose process is not up hears it then; one without a device ends."""
        if job := self._crew.jobs.get(trial):
            job.tell("finish_early")
        self._drop(trial, Outcome(OutcomeKind.PRUNED, reason="asked to finish before its first step"))

    def poll(self, timeout: float) -> list[Event]:
        """Return the events since the last call; wait up to `timeout` seconds for the first one.

        Raises:
            MachineError: If the process that starts the trials was lost too often.
        """
        end = self._clock.now() + timeout
        while not self._collect():
            left = end - self._clock.now()
            self._crew.listen(max(0.0, min(left, GLANCE)))
            if left <= 0:
                self._collect()
                break
        events, self._news = self._news, []
        return events

    def close(self) -> None:
        """End everything that is still running, and what user code has left running."""
        self._crew.close()

    def trial_folder(self, trial: int) -> Path:
        """Return the folder for a trial's log and weights; create it if missing."""
        folder = self._folder / "trials" / f"{trial:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _collect(self) -> list[Event]:
        """Take in what has happened, start what waits for a device, and return the news.

        A trial's reports come before its end.
        """
        now, crew = self._clock.now(), self._crew
        self._news += [Reported(report) for report in crew.reports]
        for ended in crew.ended:
            self._pool.give_back(ended.job.devices)
            if ended.job.trial <= PROFILE:
                self._measurements[ended.job.trial] = ended
            else:
                self._news.append(Finished(ended.job.trial, ended.job.outcome(now, ended.why)))
        crew.reports.clear()
        crew.ended.clear()
        # In their order: one that needs many devices would otherwise wait for as long as there are others.
        while self._waiting and next(iter(self._waiting.values())).devices <= self._pool.free:
            self._start(self._waiting.pop(next(iter(self._waiting))))
        return self._news

    def _drop(self, trial: int, outcome: Outcome) -> None:
        """End a trial that still waits for a device."""
        if self._waiting.pop(trial, None):
            self._news.append(Finished(trial, outcome))

    def _ask(self, asked: Asked) -> None:
        if self._waiting or self._pool.free < asked.devices <= self.slots.count:
            self._waiting[asked.trial] = asked
        else:
            self._start(asked)

    def _start(self, asked: Asked) -> None:
        devices, started = self._pool.lease(asked.devices), self._clock.now()
        resources = {
            "devices": devices[: asked.processes] if devices[0] else [""] * asked.processes,
            "threads": self.slots.threads_of(asked.devices, asked.processes),
            "cpu": self._resources.cpu,
            "split_seed": self._resources.split_seed,
            "metric": self._resources.metric,
            "measure": self._resources.measure,
            "data": str(self._folder / UNDERSTOOD),
            "target": self._target,
        }
        self._crew.ask(
            lambda channel: Job(channel, asked.trial, started, asked.log, devices, asked.limit, asked.request),
            {**resources, **asked.fields},
        )

    def _measure(self, job: str, last: str, limit: float | None, **fields: Any) -> list[Mapping[str, Any]]:
        ended = self._measured(job, limit, fields)
        if ended.orphaned:  # nothing of the job's doing
            ended = self._measured(job, limit, fields)
        done = ended.job
        if done.said(last):
            return done.done
        if done.hung is not None:
            raise TaskError(f"measuring the task: {done.why}; it was ended", done.where or None)
        if broken := done.said("broken"):
            raise TaskError(broken[0]["message"])
        if done.asked is not None:
            raise TaskError("measuring the task took longer than the budget allows", done.where or None)
        raise TaskError(f"measuring the task ended without a result: {ended.why}")

    def _measured(self, job: str, limit: float | None, fields: Mapping[str, Any]) -> Ended:
        self._ask(Asked(PROFILE, self._folder / "profile.txt", limit, {"job": job, **fields}))
        while PROFILE not in self._measurements:
            self._crew.listen(GLANCE)
            self._collect()
        return self._measurements.pop(PROFILE)
