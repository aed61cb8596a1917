"""A worker process's job, a trial or a measurement, as the supervisor sees it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoaccel.core import checkpoints
from autoaccel.core.codec import from_data
from autoaccel.core.quantities import Cost
from autoaccel.core.trial import SLOWER, Outcome, OutcomeKind, Report, TrialRequest, estimated_cost
from autoaccel.execution.local.messages import Channel

POLITE_SECONDS = 1.0
"""Fewest seconds between asking a worker to stop and killing it."""

PREEMPTED_SECONDS = 10.0
"""Seconds that a worker has for a checkpoint when the run is asked to end: machines are taken away within 30."""


@dataclass
class Job:
    """A job and the worker process that runs it.

    Args:
        channel: The channel to the worker.
        trial: Number of the trial.
        request: The request of the trial; None for a measurement.
        started: Time on the supervisor's clock when it was requested.
        log: The file for the worker's output.
        device: CUDA name of its GPU; empty for any available device.
        limit: Seconds after which it is asked to stop; None for never.
        pid: ID of the process and of its group; 0 until known.
        asked: Time on the supervisor's clock when it was asked to stop; None if it was not.
        preempted: Whether it was asked because the run was.
        overdue: Whether it was asked because its time was up.
        killed: Whether it was killed because it did not stop.
        done: Messages from the worker other than reports.
        latest: Its last evaluation, which says what it has spent if it dies.
    """

    channel: Channel
    trial: int
    started: float
    log: Path
    device: str
    limit: float | None = None
    request: TrialRequest | None = None
    pid: int = 0
    asked: float | None = None
    preempted: bool = False
    overdue: bool = False
    killed: bool = False
    done: list[Mapping[str, Any]] = field(default_factory=list)
    latest: Report | None = None

    def enforce(self, now: float) -> None:
        """Ask it to stop when its time is up, and kill it if it does not stop in time."""
        if self.limit is not None and now - self.started > self.limit and not self.overdue:
            # It also ends the patience with a trial that was asked before.
            self.ask(now)
            self.overdue, self.asked = True, now
        if self.asked is not None and not self.killed and now - self.asked > self._patience():
            self.killed = True
            self.signal(signal.SIGKILL)

    def _patience(self) -> float:
        """Return the seconds to wait after asking it to stop, which it does between two steps or evaluations."""
        if self.overdue or self.request is None:
            return POLITE_SECONDS
        if self.preempted:
            return PREEMPTED_SECONDS
        cost = self.latest.cost if self.latest else Cost()
        step = max(self.request.step.seconds, cost.seconds / cost.steps if cost.steps else 0.0)
        return max(POLITE_SECONDS, SLOWER * max(step, self.request.evaluation.seconds))

    def tell(self, word: str) -> None:
        """Send a message to a trial, which checks before every step and waits for answers to some reports."""
        with suppress(OSError):
            self.channel.send(word)

    def ask(self, now: float, word: str = "stop") -> None:
        """Ask it to stop at its next step, unless it was asked before."""
        if self.asked is None:
            self.asked = now
            self.preempted = word == "preempt"
            self.tell(word)

    def signal(self, which: signal.Signals) -> None:
        """Send a signal to its whole process group."""
        if not self.pid:
            return
        try:
            os.killpg(self.pid, which)
        except (ProcessLookupError, PermissionError):
            # Between fork and setsid, the group does not exist yet, but the process does.
            try:
                os.kill(self.pid, which)
            except ProcessLookupError:
                return

    def said(self, kind: str) -> list[Mapping[str, Any]]:
        """Return its messages of one kind."""
        return [message for message in self.done if message["kind"] == kind]

    def outcome(self, now: float, why: str) -> Outcome:
        """Return how its trial ended: the outcome that it sent, else one inferred from the outside.

        Args:
            now: Time on the supervisor's clock.
            why: The reason to give if it sent nothing.
        """
        if told := self.said("outcome"):
            return from_data(Outcome, told[-1]["outcome"])
        seconds, saved = now - self.started, checkpoints.saved(self.log.parent)
        cost = estimated_cost(self.request, self.latest, seconds, saved) if self.request else Cost(seconds=seconds)
        if self.preempted:
            return Outcome(OutcomeKind.PREEMPTED, cost, reason="the run was asked to end", saved=saved)
        if self.killed and not self.overdue:
            return Outcome(OutcomeKind.PRUNED, cost, reason="stopped; it did not end in time and was killed")
        if self.killed:
            return Outcome(OutcomeKind.TIMED_OUT, cost, reason="did not end in time and was killed")
        if broken := self.said("broken"):
            return Outcome(OutcomeKind.FAILED, cost, reason=broken[0]["message"])
        return Outcome(OutcomeKind.LOST, cost, reason=f"{why}; see {self.log}", saved=saved)
