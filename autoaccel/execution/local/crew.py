"""The processes of a run: asks the fork server for workers, listens, and ends what hangs or overruns."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoaccel.core.clock import Clock
from autoaccel.core.codec import from_data
from autoaccel.core.quantities import format_seconds
from autoaccel.core.trial import Report
from autoaccel.errors import AutoaccelError, MachineError, TaskError, UsageError
from autoaccel.execution.local.beats import Beats, shared_memory
from autoaccel.execution.local.endings import KernelKills, ending
from autoaccel.execution.local.job import DUMPING, Job
from autoaccel.execution.local.messages import Channel
from autoaccel.execution.local.patience import Patience
from autoaccel.execution.local.template import Template

RESTARTS = 2
"""How often a lost fork server is started again in a run."""
GLANCE = 0.1


@dataclass(frozen=True)
class Ended:
    """The end of a job.

    Args:
        job: The job.
        why: How its process ended, as one line.
        orphaned: Whether it ended only because the fork server did.
    """

    job: Job
    why: str
    orphaned: bool = False


class Crew:
    """The fork server and its workers.

    Args:
        load: What the fork server is to load.
        log: The file for the fork server's output.
        clock: Measures the deadlines; monotonic.
        patience: How long processes may make no progress.

    Attributes:
        jobs: The jobs that run, by trial.
        ended: Those that have ended since it was last emptied.
        reports: The reports since it was last emptied.
    """

    def __init__(self, load: Mapping[str, Any], log: Path, clock: Clock, patience: Patience):
        self.jobs: dict[int, Job] = {}
        self.ended: list[Ended] = []
        self.reports: list[Report] = []
        self._load, self._log, self._clock, self._patience = load, log, clock, patience
        self._kernel = KernelKills()
        self._selector = selectors.DefaultSelector()
        self._waiting: list[tuple[Job, socket.socket, int, dict[str, Any]]] = []
        self._sent: dict[int, dict[str, Any]] = {}
        self._restarts = 0
        self._loaded = False
        self._fresh = False
        self._template = self._start()

    def load(self, limit: float | None) -> Mapping[str, Any]:
        """Wait until the fork server has loaded the task, and return what it says then.

        Args:
            limit: Seconds after which the import is aborted; None for no limit.

        Raises:
            TaskError: If the user's file cannot be loaded, or hangs.
            UsageError: If it took longer than the limit.
            MachineError: If the fork server was killed.
        """
        end = None if limit is None else self._clock.now() + limit
        while self._template.ready is None:
            self.listen(GLANCE)
            if end is not None and self._clock.now() > end and self._template.ready is None:
                where = self._ask_where()
                self.close()
                raise UsageError(
                    "the budget is too small: torch and the task were not imported within the "
                    f"{format_seconds(limit or 0.0)} that it leaves for that"
                    f"{f' ({where} was running)' if where else ''}"
                )
        self._loaded = True
        return self._template.ready

    def ask(self, make: Callable[[Channel], Job], fields: Mapping[str, Any]) -> Job:
        """Start a job as soon as the fork server is ready, and return it.

        Args:
            make: Makes the job, given the channel to its worker.
            fields: What its worker is told.
        """
        ours, theirs = socket.socketpair()
        memory = shared_memory()
        job = make(Channel(ours))
        job.beats = Beats(memory)
        self.jobs[job.trial] = job
        self._selector.register(job.channel, selectors.EVENT_READ, job.trial)
        self._waiting.append((job, theirs, memory, dict(fields)))
        self._send_waiting()
        return job

    def listen(self, timeout: float) -> None:
        """Wait for messages for up to `timeout` seconds, handle them, and enforce all deadlines.

        Raises:
            TaskError: If the user's file cannot be loaded.
            MachineError: If the fork server was lost too often.
        """
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._template.channel:
                self._hear_template()
            elif job := self.jobs.get(key.data):  # the fork server may just have reported its end
                self._hear_worker(job)
        self._enforce()

    def close(self) -> None:
        """End everything that is still running."""
        for job in self.jobs.values():
            job.kill()
        self._template.close()
        for job in self.jobs.values():
            job.channel.close()
        for _, theirs, memory, _ in self._waiting:
            theirs.close()
            os.close(memory)
        self._waiting.clear()
        self._selector.close()

    def _start(self) -> Template:
        template = Template(self._load, self._log)
        self._selector.register(template.channel, selectors.EVENT_READ)
        return template

    def _send_waiting(self) -> None:
        if self._template.ready is None:
            return
        forks = bool(self._template.ready["forks"]) and not self._fresh
        for job, theirs, memory, fields in self._waiting:
            job.forked = forks and not job.retried
            # A trial that is started again goes on with the time that it has left.
            elapsed = self._clock.now() - job.started if job.retried else 0.0
            job.started = self._clock.now() - elapsed
            self._sent[job.trial] = fields
            told = {**fields, "trial": job.trial, "log": str(job.log)}
            self._template.send("fork", [theirs.fileno(), memory], **told, fresh=not job.forked, elapsed=elapsed)
            theirs.close()
            os.close(memory)
        self._waiting.clear()

    def _hear_template(self) -> None:
        template = self._template
        messages = template.channel.receive()
        if messages is None:
            self._lose_template()
            return
        for message in messages:
            match message["kind"]:
                case "here":
                    template.pid = message["pid"]
                case "ready":
                    template.ready = message
                    self._send_waiting()
                case "error":
                    machine = message["code"] == MachineError.exit_code
                    error = (MachineError if machine else TaskError)(message["message"])
                    error.__cause__ = AutoaccelError(message["traceback"])
                    raise error
                case kind if job := self.jobs.get(message["trial"]):
                    self._hear_of_worker(job, kind, message)

    def _hear_of_worker(self, job: Job, kind: str, message: Mapping[str, Any]) -> None:
        if kind == "forked":
            job.pid = message["pid"]
            if job.killed:  # before it was known
                job.kill()
            return
        self._drain(job)
        if job.again and job.asked is None:
            self._start_again(job)
            return
        if job.retried and job.succeeded:
            self._fresh = True
        self._end(job, f"the process {ending(message['status'], self._kernel)}")

    def _start_again(self, job: Job) -> None:
        """Run a job in a fresh process whose forked one has hung before its first step."""
        with job.log.open("a") as log:
            at = f" at {job.where}" if job.where else ""
            log.write(f"The forked process hung{at}; it is started again as a fresh one.\n")
        self._forget(job)
        self.ask(job.anew, self._sent[job.trial])

    def _lose_template(self, why: str = "") -> None:
        """End what the fork server's end has ended, and start another one.

        Args:
            why: Why it is ended; empty if it has ended by itself.
        """
        self._selector.unregister(self._template.channel)
        if not self._loaded:
            raise self._template.failure(self._kernel)
        how = self._template.end(self._kernel, why)
        waiting = {job.trial for job, *_ in self._waiting}
        for job in [job for job in self.jobs.values() if job.trial not in waiting]:
            self._drain(job)
            self._end(job, f"the process that starts workers {how}", orphaned=True)
        if self._restarts == RESTARTS:
            raise MachineError(
                f"the process that starts workers was lost {RESTARTS + 1} times; the last time it {how}"
            )
        self._restarts += 1
        self._template = self._start()

    def _hear_worker(self, job: Job) -> bool:
        messages = job.channel.receive()
        if messages is None:
            self._selector.unregister(job.channel)
            job.closed = True
            return False
        for message in messages:
            if message["kind"] == "report":
                job.latest = from_data(Report, message["report"])
                self.reports.append(job.latest)
            else:
                job.done.append(message)
        return True

    def _drain(self, job: Job) -> None:
        """Read the remaining messages of a worker that has ended."""
        with_rest = selectors.DefaultSelector()
        with_rest.register(job.channel, selectors.EVENT_READ)
        while not job.closed and with_rest.select(0) and self._hear_worker(job):
            pass
        with_rest.close()

    def _end(self, job: Job, why: str, orphaned: bool = False) -> None:
        self._forget(job)
        self.ended.append(Ended(job, why, orphaned))

    def _forget(self, job: Job) -> None:
        del self.jobs[job.trial]
        if not job.closed:
            self._selector.unregister(job.channel)
        job.channel.close()

    def _enforce(self) -> None:
        now, patience = self._clock.now(), self._patience
        if self._template.ready is None:
            self._enforce_load(now)
            return
        for job in list(self.jobs.values()):
            job.enforce(now, patience)
        if any(job.unanswered > patience.answer for job in self.jobs.values()):
            self._lose_template(f"did not answer for {format_seconds(patience.answer)}, and was killed")

    def _enforce_load(self, now: float) -> None:
        if not (why := self._template.hangs(now, self._patience)):
            return
        where = self._ask_where()
        if self._loaded:
            self._lose_template(f"was killed, since {why}")
            return
        self._template.close()
        raise TaskError(why, where or None)

    def _ask_where(self) -> str:
        """Return where the fork server is in the user's code, if it can be found out."""
        self._template.dump()
        self._clock.sleep(DUMPING)
        return self._template.where()
