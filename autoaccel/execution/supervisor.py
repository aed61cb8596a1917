"""The supervisor's side: starts the template, asks it for workers, listens to them, and ends those that overrun.

It imports neither torch nor the user's file.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoaccel.budget import Cost
from autoaccel.catalog import TechniqueInfo
from autoaccel.clock import Clock
from autoaccel.errors import AutoaccelError, TaskError
from autoaccel.execution.messages import Channel
from autoaccel.trial import (
    Event,
    Finished,
    Outcome,
    OutcomeKind,
    Report,
    Reported,
    TaskFacts,
    TrialRequest,
)

PROFILE = -1
POLITE_SECONDS = 1.0
"""Between asking a worker to stop and killing it."""


@dataclass(frozen=True)
class TaskRef:
    """How a child process finds the user's task.

    Args:
        target: `model.py`, `model.py:name` or `package.module:name`; for people when pickled.
        pickled: A file with the pickled task, for one that was defined in a notebook.
    """

    target: str
    pickled: str = ""


@dataclass(frozen=True)
class Place:
    """What the workers run on.

    Args:
        devices: Numbers of the GPUs, one worker each; empty for whatever is there.
        cpu: Use the CPU even where there is a GPU.
        workers: Trials side by side.
        split_seed: Decides the validation split.
        metric: Overrides the task's metric.
    """

    devices: tuple[str, ...] = ()
    cpu: bool = False
    workers: int = 1
    split_seed: int = 0
    metric: str | None = None

    @property
    def threads(self) -> int:
        """Threads of each worker."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // self.workers)


@dataclass
class _Job:
    channel: Channel
    trial: int
    started: float
    log: Path
    device: str
    limit: float | None = None
    pid: int = 0
    asked: float | None = None
    killed: bool = False
    done: list[Mapping[str, Any]] = field(default_factory=list)


class Supervisor:
    """An executor whose trials are processes.

    Args:
        task: What to train.
        place: What to run on.
        clock: For deadlines of trials.
        folder: Gives each trial its folder `trials/NNNN`.

    Raises:
        AutoaccelError: The user's file cannot be loaded.
    """

    def __init__(self, task: TaskRef, place: Place, clock: Clock, folder: Path):
        self._place = place
        self._clock = clock
        self._folder = folder
        self._jobs: dict[int, _Job] = {}
        self._events: list[Event] = []
        self._selector = selectors.DefaultSelector()
        self._free = list(place.devices) or [""] * place.workers
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "autoaccel.execution.template", str(theirs.fileno())]
        # Its own session, so that a Ctrl-C at the terminal reaches the supervisor alone.
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()
        self._template = Channel(ours)
        self._template.send("load", target=task.target, pickled=task.pickled, seed=place.split_seed)
        self.catalog: dict[str, TechniqueInfo] = {}

    def load(self) -> dict[str, TechniqueInfo]:
        """Wait until the template is warm; returns the catalog of techniques.

        Raises:
            AutoaccelError: The user's file cannot be loaded.
        """
        ready: list[Mapping[str, Any]] = []
        while not ready:
            messages = self._template.receive()
            if messages is None:
                code = self._process.wait()
                raise TaskError(f"the user's file ended the process that imported it (exit code {code})")
            ready = messages
        message = ready[0]
        if message["kind"] == "error":
            error = TaskError(message["message"])
            error.__cause__ = AutoaccelError(message["traceback"])
            raise error
        self.catalog = {data["name"]: TechniqueInfo.from_data(data) for data in message["catalog"]}
        self._selector.register(self._template, selectors.EVENT_READ)
        return self.catalog

    def profile(self, limit: float | None) -> tuple[TaskFacts, Mapping[str, Any]]:
        """Measure the task; returns its facts and the space of the user's model.

        Args:
            limit: Seconds after which the profile is killed; None for no limit.

        Raises:
            TaskError: If the task cannot be trained, or not within the limit.
        """
        message = self._wait("profile", "facts", limit)[-1]
        return TaskFacts.from_data(message["facts"]), message["model_space"]

    def sizes(self) -> list[Mapping[str, Any]]:
        """The cost of a step by batch size.

        Raises:
            TaskError: If the task cannot be trained.
        """
        return [m for m in self._wait("sizes", "sizes", None) if m["kind"] == "size"]

    def start(self, request: TrialRequest) -> None:
        """Begin a trial in a process of its own."""
        limit = None if request.grace is None else (request.budget.seconds or 0.0) + request.grace
        folder = self.trial_folder(request.trial)
        self._ask(request.trial, "trial", limit, request=request.to_data(), folder=str(folder))

    def stop(self, trial: int) -> None:
        """Ask a trial to end at its next step; it is killed when it does not."""
        job = self._jobs.get(trial)
        if job and job.asked is None:
            job.asked = self._clock.now()
            self._signal(job, signal.SIGTERM)

    def poll(self, timeout: float) -> list[Event]:
        """Events since the last call; waits up to `timeout` seconds."""
        end = self._clock.now() + timeout
        while not self._events:
            left = end - self._clock.now()
            self._listen(max(0.0, min(left, 0.1)))
            self._enforce()
            if left <= 0:
                break
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """End everything that is still running."""
        for job in self._jobs.values():
            self._signal(job, signal.SIGKILL)
        self._template.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for job in self._jobs.values():
            job.channel.close()
        self._selector.close()

    def trial_folder(self, trial: int) -> Path:
        """Where a trial's log and weights are."""
        folder = self._folder / "trials" / f"{trial:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _ask(self, trial: int, job: str, limit: float | None, **fields: Any) -> None:
        ours, theirs = socket.socketpair()
        device = self._free.pop(0) if self._free else ""
        name = "profile" if trial == PROFILE else "log"
        log = (self._folder if trial == PROFILE else self.trial_folder(trial)) / f"{name}.txt"
        self._jobs[trial] = _Job(Channel(ours), trial, self._clock.now(), log, device, limit)
        self._selector.register(self._jobs[trial].channel, selectors.EVENT_READ, trial)
        self._template.send(
            "fork",
            descriptor=theirs.fileno(),
            trial=trial,
            job=job,
            log=str(log),
            device=device,
            threads=self._place.threads,
            cpu=self._place.cpu,
            split_seed=self._place.split_seed,
            metric=self._place.metric,
            **fields,
        )
        theirs.close()

    def _wait(self, job: str, last: str, limit: float | None) -> list[Mapping[str, Any]]:
        self._ask(PROFILE, job, limit)
        running = self._jobs[PROFILE]
        while PROFILE in self._jobs and not any(m["kind"] in (last, "broken") for m in running.done):
            self._listen(0.1)
            self._enforce()
        while PROFILE in self._jobs:
            self._listen(0.1)
        broken = [m["message"] for m in running.done if m["kind"] == "broken"]
        if broken:
            raise TaskError(broken[0])
        if not any(m["kind"] == last for m in running.done):
            why = "took longer than the budget allows" if running.killed else "ended without a result"
            raise TaskError(f"measuring the task {why}; see {running.log}")
        return running.done

    def _listen(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._template:
                self._hear_template()
            else:
                self._hear_worker(self._jobs[key.data])

    def _hear_template(self) -> None:
        messages = self._template.receive()
        if messages is None:
            self._selector.unregister(self._template)
            for trial in list(self._jobs):
                self._end(self._jobs[trial], "the template process is gone")
            return
        for message in messages:
            job = self._jobs.get(message["trial"])
            if job is None:
                continue
            if message["kind"] == "forked":
                job.pid = message["pid"]
            elif message["kind"] == "exited":
                self._drain(job)
                self._end(job, f"the process ended with status {message['status']}")

    def _hear_worker(self, job: _Job) -> bool:
        messages = job.channel.receive()
        if messages is None:
            self._selector.unregister(job.channel)
            return False
        for message in messages:
            if message["kind"] == "report":
                self._events.append(Reported(Report.from_data(message["report"])))
            else:
                job.done.append(message)
        return True

    def _drain(self, job: _Job) -> None:
        """Read what the worker sent before it ended."""
        while job.channel in [key.fileobj for key in self._selector.get_map().values()]:
            if not self._hear_worker(job):
                return

    def _end(self, job: _Job, why: str) -> None:
        self._jobs.pop(job.trial)
        if job.channel in [key.fileobj for key in self._selector.get_map().values()]:
            self._selector.unregister(job.channel)
        job.channel.close()
        self._free.append(job.device)
        if job.trial != PROFILE:
            self._events.append(Finished(job.trial, self._outcome(job, why)))

    def _outcome(self, job: _Job, why: str) -> Outcome:
        for message in job.done:
            if message["kind"] == "outcome":
                return Outcome.from_data(message["outcome"])
        cost = Cost(seconds=self._clock.now() - job.started)
        if job.killed:
            return Outcome(OutcomeKind.TIMED_OUT, cost, reason="did not end in time and was killed")
        broken = [m["message"] for m in job.done if m["kind"] == "broken"]
        kind = OutcomeKind.FAILED if broken else OutcomeKind.LOST
        return Outcome(kind, cost, reason=broken[0] if broken else f"{why}; see {job.log}")

    def _enforce(self) -> None:
        now = self._clock.now()
        for job in list(self._jobs.values()):
            if job.asked is None and job.limit is not None and now - job.started > job.limit:
                job.asked = now
                self._signal(job, signal.SIGTERM)
            if job.asked is not None and not job.killed and now - job.asked > POLITE_SECONDS:
                job.killed = True
                self._signal(job, signal.SIGKILL)

    def _signal(self, job: _Job, which: signal.Signals) -> None:
        if not job.pid:
            return
        try:
            os.killpg(job.pid, which)
        except (ProcessLookupError, PermissionError):
            # Between the fork and its setsid the group does not exist yet; the process does.
            try:
                os.kill(job.pid, which)
            except ProcessLookupError:
                return
