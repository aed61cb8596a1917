"""The supervisor: starts the fork server, requests workers, listens to them, and kills those that overrun.

It imports neither torch nor the user's file.
"""

from __future__ import annotations

import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoaccel.core.catalog import TechniqueInfo
from autoaccel.core.clock import Clock
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.events import Event, Finished, Reported
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import format_seconds
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import Report, TrialRequest
from autoaccel.errors import AutoaccelError, TaskError, UsageError
from autoaccel.execution.base import UNDERSTOOD
from autoaccel.execution.local.job import Job
from autoaccel.execution.local.messages import Channel

PROFILE = -1
A_WEEK = 7 * 86_400.0
"""Seconds; the system's timers take 24 days at most."""


class Supervisor:
    """An executor that runs trials as processes.

    Args:
        task: A reference to the user's task.
        resources: The devices and settings of the workers.
        clock: Measures the deadlines of trials.
        folder: The run folder, where each trial gets a folder `trials/NNNN`.
    """

    def __init__(self, task: TaskRef, resources: Resources, clock: Clock, folder: Path):
        self._resources = resources
        self._clock = clock
        self._folder = folder.absolute()  # the user's file may leave the folder that it is imported in
        self._jobs: dict[int, Job] = {}
        self._events: list[Event] = []
        self._selector = selectors.DefaultSelector()
        self._free = list(resources.devices) or [""] * resources.workers
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "autoaccel.execution.local.fork_server", str(theirs.fileno())]
        self._log = folder / "import.txt"
        with self._log.open("ab") as log:
            # A separate session, so that Ctrl-C in the terminal reaches only the supervisor; a separate log, so
            # that the output of the user's file does not mix with the result on stdout.
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        theirs.close()
        self._fork_server = Channel(ours)
        self._fork_server.send("load", target=task.target, pickled=task.pickled, seed=resources.split_seed)
        self._selector.register(self._fork_server, selectors.EVENT_READ)

    def load(self, limit: float | None) -> dict[str, TechniqueInfo]:
        """Wait until the fork server is ready and return the catalog of techniques.

        Args:
            limit: Seconds after which the import is aborted; None for no limit.

        Raises:
            TaskError: If the user's file cannot be loaded.
            UsageError: If it took longer than the limit.
        """
        messages: list[Mapping[str, Any]] | None = []
        while messages == []:
            if not self._selector.select(None if limit is None else min(limit, A_WEEK)):
                self._process.kill()
                seconds = format_seconds(limit or 0.0)
                raise UsageError(
                    f"a budget of {seconds} is too small: it was over before torch and the task were imported"
                )
            messages = self._fork_server.receive()
        if messages is None:
            code = self._process.wait()
            raise TaskError(
                f"the user's file ended the process that imported it (exit code {code}){self._last_words()}"
            )
        message = messages[0]
        if message["kind"] == "error":
            error = TaskError(message["message"])
            error.__cause__ = AutoaccelError(message["traceback"])
            raise error
        return {data["name"]: from_data(TechniqueInfo, data) for data in message["catalog"]}

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def profile(self, limit: float | None) -> tuple[TaskFacts, Mapping[str, Any]]:
        """Measure the task; return its facts and the search space of the user's model.

        Args:
            limit: Seconds after which the profile is killed; None for no limit.

        Raises:
            TaskError: If the task cannot be trained, or not within the limit.
        """
        message = self._wait("profile", "facts", limit)[-1]
        return from_data(TaskFacts, message["facts"]), message["model_space"]

    def check(self, limit: float | None) -> Mapping[str, Any]:
        """Rehearse the task; return the `lines` of what was understood, and the `names` of its classes.

        Args:
            limit: Seconds after which it is killed; None for no limit.

        Raises:
            TaskError: If a step of the rehearsal fails, or takes longer than the limit.
        """
        return self._wait("check", "checked", limit)[-1]

    def sizes(self) -> list[Mapping[str, Any]]:
        """Measure the cost of a training step by batch size.

        Raises:
            TaskError: If the task cannot be trained.
        """
        return [m["size"] for m in self._wait("sizes", "sizes", None) if m["kind"] == "size"]

    def score(self, recipe: Recipe, weights: Path, limit: float | None) -> Mapping[str, Any]:
        """Score a trial's weights on the test set; see `training.scoring`.

        Raises:
            TaskError: If it fails, or takes longer than the limit.
        """
        return self._wait("score", "score", limit, recipe=recipe.to_data(), weights=str(weights.absolute()))[-1]

    def start(self, request: TrialRequest) -> None:
        """Start a trial in its own process."""
        most = (request.budget.seconds or request.carried.seconds) - request.carried.seconds
        limit = None if request.grace is None else most + request.grace
        folder = self.trial_folder(request.trial)
        self._ask(request.trial, "trial", limit, request=to_data(request), folder=str(folder))
        self._jobs[request.trial].request = request

    def proceed(self, trial: int) -> None:
        """Let a trial that waits after a report continue."""
        if job := self._jobs.get(trial):
            job.tell("proceed")

    def stop(self, trial: int) -> None:
        """Ask a trial to stop at its next step; it is killed if it does not."""
        if job := self._jobs.get(trial):
            job.ask(self._clock.now())

    def preempt(self, trial: int) -> None:
        """Ask a trial to save a checkpoint and stop at its next step; it is killed if it does not."""
        if job := self._jobs.get(trial):
            job.ask(self._clock.now(), "preempt")

    def finish_early(self, trial: int) -> None:
        """Ask a trial to finish early; one that has not started yet gets the message when it does."""
        if job := self._jobs.get(trial):
            job.tell("finish_early")

    def poll(self, timeout: float) -> list[Event]:
        """Return the events since the last call; wait up to `timeout` seconds for the first one."""
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
            job.signal(signal.SIGKILL)
        self._fork_server.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for job in self._jobs.values():
            job.channel.close()
        self._selector.close()

    def trial_folder(self, trial: int) -> Path:
        """Return the folder for a trial's log and weights; create it if missing."""
        folder = self._folder / "trials" / f"{trial:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _ask(self, trial: int, job: str, limit: float | None, **fields: Any) -> None:
        ours, theirs = socket.socketpair()
        device = self._free.pop(0) if self._free else ""
        name = "profile" if trial == PROFILE else "log"
        log = (self._folder if trial == PROFILE else self.trial_folder(trial)) / f"{name}.txt"
        self._jobs[trial] = Job(Channel(ours), trial, self._clock.now(), log, device, limit)
        self._selector.register(self._jobs[trial].channel, selectors.EVENT_READ, trial)
        self._fork_server.send(
            "fork",
            descriptor=theirs.fileno(),
            trial=trial,
            job=job,
            log=str(log),
            device=device,
            threads=self._resources.threads,
            cpu=self._resources.cpu,
            split_seed=self._resources.split_seed,
            metric=self._resources.metric,
            measure=self._resources.measure,
            data=str(self._folder / UNDERSTOOD),
            **fields,
        )
        theirs.close()

    def _wait(self, job: str, last: str, limit: float | None, **fields: Any) -> list[Mapping[str, Any]]:
        self._ask(PROFILE, job, limit, **fields)
        running = self._jobs[PROFILE]
        while PROFILE in self._jobs:
            self._listen(0.1)
            self._enforce()
        if broken := running.said("broken"):
            raise TaskError(broken[0]["message"])
        if not running.said(last):
            why = "took longer than the budget allows" if running.asked else "ended without a result"
            raise TaskError(f"measuring the task {why}")
        return running.done

    def _listen(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._fork_server:
                self._hear_fork_server()
            elif job := self._jobs.get(key.data):  # the fork server may just have reported its end
                self._hear_worker(job)

    def _hear_fork_server(self) -> None:
        messages = self._fork_server.receive()
        if messages is None:
            self._selector.unregister(self._fork_server)
            for trial in list(self._jobs):
                self._end(self._jobs[trial], "the fork server is gone")
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

    def _hear_worker(self, job: Job) -> bool:
        messages = job.channel.receive()
        if messages is None:
            self._selector.unregister(job.channel)
            return False
        for message in messages:
            if message["kind"] == "report":
                job.latest = from_data(Report, message["report"])
                self._events.append(Reported(job.latest))
            else:
                job.done.append(message)
        return True

    def _drain(self, job: Job) -> None:
        """Read the remaining messages of a worker that has ended."""
        while job.channel in [key.fileobj for key in self._selector.get_map().values()]:
            if not self._hear_worker(job):
                return

    def _end(self, job: Job, why: str) -> None:
        self._jobs.pop(job.trial)
        if job.channel in [key.fileobj for key in self._selector.get_map().values()]:
            self._selector.unregister(job.channel)
        job.channel.close()
        self._free.append(job.device)
        if job.trial != PROFILE:
            self._events.append(Finished(job.trial, job.outcome(self._clock.now(), why)))

    def _enforce(self) -> None:
        now = self._clock.now()
        for job in list(self._jobs.values()):
            job.enforce(now)
