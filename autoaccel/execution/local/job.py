"""A worker process's job, a trial or a measurement, as the supervisor sees it."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from autoaccel.core import checkpoints
from autoaccel.core.codec import from_data
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import SLOWER, Outcome, OutcomeKind, Report, TrialRequest, estimated_cost
from autoaccel.execution.local.beats import Beats, Counts
from autoaccel.execution.local.endings import DUMP, send, size, user_line
from autoaccel.execution.local.messages import Channel
from autoaccel.execution.local.patience import LONGEST_GLANCE, PATIENCE, Patience, Watch, cpu_seconds, hangs

POLITE_SECONDS = 1.0
"""Fewest seconds between asking a worker to stop and killing it."""
OVERDUE_SECONDS = 0.5
"""Seconds between asking one whose time is up and killing it: its stacks are written meanwhile."""
PREEMPTED_SECONDS = 10.0
"""Seconds that a worker has for a checkpoint when the run is asked to end: machines are taken away within 30."""
DUMPING = 0.3
"""Seconds that a hung process gets to write its stacks, and then its children theirs, before they are ended."""
SHORT = 0.25
"""Share of its time after which a forked worker that does nothing is tried as a fresh process, if that is soon."""
SHORTEST = 3.0
"""Fewest seconds of that."""
LINGER = 10.0
"""Seconds that a worker may take to end after it has sent its result."""


@dataclass
class Job:
    """A job and the worker process that runs it.

    Args:
        channel: The channel to the worker.
        trial: Number of the trial.
        started: Time on the supervisor's clock when it was requested.
        log: The file for the worker's output.
        devices: CUDA names of the GPUs that it has; an empty name stands for what is there without a choice.
        limit: Seconds after which it is asked to stop; None for never.
        request: The request of the trial; None for a measurement.
        beats: What the worker counts; None if it cannot be seen.
        forked: Whether it is a forked process, in which locks and threads of the user's file may be broken.
        pid: ID of the process and of its group; 0 until known.
        asked: Time on the supervisor's clock when it was asked to stop; None if it was not.
        preempted: Whether it was asked because the run was.
        overdue: Whether it was asked because its time was up.
        killed: Whether it was killed because it did not stop.
        closed: Whether it has closed its channel.
        hung: Time on the supervisor's clock when it was found hung; None if it was not.
        why: Why it counts as hung, as one line.
        retried: Whether it is the second attempt, in a fresh process.
        finishing: Whether it was asked to finish early.
        unanswered: Seconds that it has waited for the fork server: to be started, or to be reported as ended.
        done: Messages from the worker other than reports.
        latest: Its last evaluation, which says what it has spent if it dies.
    """

    channel: Channel
    trial: int
    started: float
    log: Path
    devices: tuple[str, ...]
    limit: float | None = None
    request: TrialRequest | None = None
    beats: Beats | None = None
    forked: bool = False
    pid: int = 0
    asked: float | None = None
    preempted: bool = False
    overdue: bool = False
    killed: bool = False
    closed: bool = False
    hung: float | None = None
    why: str = ""
    retried: bool = False
    finishing: bool = False
    unanswered: float = 0.0
    done: list[Mapping[str, Any]] = field(default_factory=list)
    latest: Report | None = None
    _watch: Watch = field(default_factory=Watch)
    _enforced: float | None = None
    _lingered: float = 0.0
    _begin: int = field(init=False)
    _dumped: int | None = None
    _stage: int = 0

    def __post_init__(self) -> None:
        self._begin = size(self.log)

    def enforce(self, now: float, patience: Patience = PATIENCE) -> None:
        """Ask it to stop when its time is up, end it when it hangs, and kill it if it does not stop in time."""
        self._wait(now)
        if self.limit is not None and now - self.started > self.limit and not self.overdue:
            # It also ends the patience with a trial that was asked before.
            self.ask(now)
            self.overdue, self.asked = True, now
            self._dump()
        if self.asked is None and self.hung is None and self._seen:
            self._look(now, patience)
        if self.hung is not None and not self.killed:
            self._end_hung(now - self.hung)
        late = self.asked is not None and now - self.asked > self._patience()
        if not self.killed and (late or self._lingered > LINGER):
            self.kill()

    def _wait(self, now: float) -> None:
        passed = min(LONGEST_GLANCE, now - (now if self._enforced is None else self._enforced))
        self._enforced = now
        self._lingered += passed if self.told else 0.0
        waits = not self.pid or self.killed or self.closed
        self.unanswered = self.unanswered + passed if waits else 0.0

    @property
    def _seen(self) -> bool:
        """Whether it runs and has not told its result, so that its silence means something."""
        return bool(self.pid) and not self.closed and not self.told

    def _look(self, now: float, patience: Patience) -> None:
        watch, request = self._watch, self.request
        counts = self.beats.read() if self.beats else Counts(0, 0, False)
        watch.look(now, counts, lambda: cpu_seconds(self.pid))
        step = request.step.seconds if request else 0.0
        stage = max(request.evaluation.seconds, request.finalization.seconds) if request else 0.0
        seconds = request.budget.seconds if request else None
        carried = request.carried.seconds if request else 0.0
        over = seconds is not None and now - self.started > seconds - carried
        self.why = hangs(watch, patience, step, stage, over)
        if not self.why and self.forked and not watch.seen.begun:
            soon = math.inf if self.limit is None else max(SHORTEST, SHORT * self.limit)
            self.why = "nothing has happened" if watch.idle > min(patience.forked, soon) else ""
        if self.why:
            self.hung = now
            self._dump()

    def _end_hung(self, since: float) -> None:
        if since > DUMPING and self._stage == 0:
            self._stage = 1
            with suppress(psutil.Error):  # those that fetch data wait elsewhere than the training does
                for child in psutil.Process(self.pid).children(recursive=True):
                    send(child.pid, DUMP)
        if since > 2 * DUMPING and self._stage == 1:
            self._stage = 2
            send(self.pid, signal.SIGTERM, group=True)
        if since > 2 * DUMPING + POLITE_SECONDS:
            self.kill()

    def _dump(self) -> None:
        # Before its first beat, a fresh process does not know the signal yet, and would die of it.
        if self._dumped is None and self.beats and self.beats.read().beats:
            self._dumped = size(self.log)
            send(self.pid, DUMP)

    def _patience(self) -> float:
        """Return the seconds to wait after asking it to stop, which it does between two steps or evaluations."""
        if self.overdue:
            return OVERDUE_SECONDS
        if self.request is None:
            return POLITE_SECONDS
        if self.preempted:
            return PREEMPTED_SECONDS
        cost = self.latest.cost if self.latest else Cost()
        step = max(self.request.step.seconds, cost.seconds / cost.steps if cost.steps else 0.0)
        return max(POLITE_SECONDS, SLOWER * max(step, self.request.evaluation.seconds))

    def anew(self, channel: Channel) -> Job:
        """Return the same job for another process."""
        again = Job(
            channel, self.trial, self.started, self.log, self.devices, self.limit, self.request, retried=True
        )
        if self.finishing:
            again.tell("finish_early")
        return again

    def tell(self, word: str) -> None:
        """Send a message to a trial, which checks before every step and waits for answers to some reports."""
        self.finishing = self.finishing or word == "finish_early"
        with suppress(OSError):
            self.channel.send(word)

    def ask(self, now: float, word: str = "stop") -> None:
        """Ask it to stop at its next step, unless it was asked before."""
        if self.asked is None:
            self.asked = now
            self.preempted = word == "preempt"
            self.tell(word)

    def kill(self) -> None:
        """Kill its whole process group."""
        self.killed = True
        send(self.pid, signal.SIGKILL, group=True)

    @property
    def told(self) -> bool:
        """Whether it has sent its result; after that of a model that is saved, the test set may be scored yet."""
        return any(message["kind"] not in ("size", "saved", "lost") for message in self.done)

    @property
    def again(self) -> bool:
        """Whether it hung where a fresh process may not: forked, and before its first step."""
        return self.hung is not None and self.forked and not self._watch.seen.begun and not self.succeeded

    @property
    def succeeded(self) -> bool:
        """Whether it has sent a result that is one."""
        results = [message for message in self.done if message["kind"] not in ("size", "broken", "lost")]
        return any(m["kind"] != "outcome" or m["outcome"]["kind"] == OutcomeKind.COMPLETE for m in results)

    @property
    def where(self) -> str:
        """`file:line` of the user's code that ran when its time was up or it hung, or an empty string."""
        return "" if self._dumped is None else user_line(self.log, self._dumped)

    def said(self, kind: str) -> list[Mapping[str, Any]]:
        """Return its messages of one kind."""
        return [message for message in self.done if message["kind"] == kind]

    def outcome(self, now: float, why: str) -> Outcome:
        """Return how its trial ended: the outcome that it sent, else one inferred from the outside.

        Args:
            now: Time on the supervisor's clock.
            why: The reason to give if it sent nothing.
        """
        told = self.said("outcome") or self.said("saved")
        if told and (self.hung is None or self.succeeded):  # one that hung fails in many ways when it is ended
            outcome = from_data(Outcome, told[-1]["outcome"])
            lost = outcome.kind is OutcomeKind.LOST  # another process may have made a checkpoint after it was told
            return replace(outcome, saved=checkpoints.saved(self.log.parent)) if lost else outcome
        seconds, saved = now - self.started, checkpoints.saved(self.log.parent)
        cost = estimated_cost(self.request, self.latest, seconds, saved) if self.request else Cost(seconds=seconds)
        if self.hung is not None:
            # One that got on until then, as far as a checkpoint, is tried again from there.
            kind = OutcomeKind.LOST if saved else OutcomeKind.TIMED_OUT
            return Outcome(kind, cost, reason=f"{self.why}; it was ended", where=self.where, saved=saved)
        if self.preempted:
            return Outcome(OutcomeKind.PREEMPTED, cost, reason="the run was asked to end", saved=saved)
        if self.killed and self.overdue:
            reason = "did not end in time and was killed"
            return Outcome(OutcomeKind.TIMED_OUT, cost, reason=reason, where=self.where, saved=saved)
        if self.killed and self.asked is not None:
            return Outcome(OutcomeKind.PRUNED, cost, reason="stopped; it did not end in time and was killed")
        if broken := self.said("broken"):
            return Outcome(OutcomeKind.FAILED, cost, reason=broken[0]["message"])
        why = next((message["why"] for message in self.said("lost")), why)
        # Where it crashed, if it did: a log holds stacks in that form only from a crash.
        where = user_line(self.log, self._begin)
        return Outcome(OutcomeKind.LOST, cost, reason=f"{why}; see {self.log}", where=where, saved=saved)
