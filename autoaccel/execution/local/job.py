"""One job of a worker process, a trial or a measurement, as the supervisor sees it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Cost
from autoaccel.core.trial import Outcome, OutcomeKind
from autoaccel.execution.local.messages import Channel

POLITE_SECONDS = 1.0
"""Between asking a worker to stop and killing it."""


@dataclass
class Job:
    """A worker at work.

    Args:
        channel: To the worker.
        trial: Number of the trial.
        started: Reading of the supervisor's clock when it was asked for.
        log: Where the worker's output goes.
        device: Number of the GPU that it has; empty for whatever is there.
        limit: Seconds after which it is asked to stop; None for never.
        pid: The process, and its group, once it is known.
        asked: When it was asked to stop.
        killed: Whether it was killed since it did not.
        done: Messages that end it, or belong to a measurement.
    """

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

    def enforce(self, now: float) -> None:
        """Ask it to stop when its time is over, and kill it when it does not."""
        if self.asked is None and self.limit is not None and now - self.started > self.limit:
            self.ask(now)
        if self.asked is not None and not self.killed and now - self.asked > POLITE_SECONDS:
            self.killed = True
            self.signal(signal.SIGKILL)

    def tell(self, word: str) -> None:
        """Say something to a trial: it looks before every step, and waits for an answer after some reports."""
        with suppress(OSError):
            self.channel.send(word)

    def ask(self, now: float) -> None:
        """Ask it, once, to stop at its next step."""
        if self.asked is None:
            self.asked = now
            self.signal(signal.SIGTERM)

    def signal(self, which: signal.Signals) -> None:
        """Signal its whole process group."""
        if not self.pid:
            return
        try:
            os.killpg(self.pid, which)
        except (ProcessLookupError, PermissionError):
            # Between the fork and its setsid the group does not exist yet; the process does.
            try:
                os.kill(self.pid, which)
            except ProcessLookupError:
                return

    def said(self, kind: str) -> list[Mapping[str, Any]]:
        """Its messages of one kind."""
        return [message for message in self.done if message["kind"] == kind]

    def outcome(self, now: float, why: str) -> Outcome:
        """How its trial ended: what it said itself, else what is known from outside.

        Args:
            now: Reading of the supervisor's clock.
            why: What is known, if it said nothing.
        """
        if told := self.said("outcome"):
            return Outcome.from_data(told[0]["outcome"])
        cost = Cost(seconds=now - self.started)
        if self.killed:
            return Outcome(OutcomeKind.TIMED_OUT, cost, reason="did not end in time and was killed")
        if broken := self.said("broken"):
            return Outcome(OutcomeKind.FAILED, cost, reason=broken[0]["message"])
        return Outcome(OutcomeKind.LOST, cost, reason=f"{why}; see {self.log}")
