"""What a running trial is told by the supervisor."""

from __future__ import annotations

import selectors

from autoaccel.execution.local.messages import Channel


class ControlChannel:
    """The supervisor's messages to a running trial: `proceed`, `stop` or `preempt` after a report, or at any time.

    These are messages, not signals: they wait for a worker that has not started yet and do not affect any processes
    that the user's code starts.

    Args:
        channel: The channel to the supervisor.

    Attributes:
        preempted: Whether the trial was asked to leave a checkpoint and stop.
    """

    def __init__(self, channel: Channel):
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._answers: list[str] = []
        self._finishing = False
        self._stopped = False
        self._open = True
        self.preempted = False

    def finishing(self) -> bool:
        """Return whether the trial was asked to finish early, without waiting; called before every step."""
        self._hear()
        return self._finishing

    def stopped(self) -> bool:
        """Whether the trial was asked to end at its next step. It never waits either."""
        self._hear()
        return self._stopped

    def may_proceed(self) -> bool:
        """Wait for the answer to a report; return False for `stop` or if the supervisor is gone."""
        while not self._answers and self._open:
            self._listen()
        return bool(self._answers) and self._answers.pop(0) == "proceed"

    def _hear(self) -> None:
        while self._open and self._selector.select(0):
            self._listen()

    def _listen(self) -> None:
        messages = self._channel.receive()
        self._open = messages is not None
        for message in messages or []:
            if message["kind"] == "finish_early":
                self._finishing = True
            else:
                self.preempted = self.preempted or message["kind"] == "preempt"
                self._stopped = self._stopped or message["kind"] in ("stop", "preempt")
                self._answers.append(message["kind"])


class Unasked:
    """What a process hears of which nobody asks anything: the first one of its trial tells it."""

    preempted = False

    def finishing(self) -> bool:
        """Return False."""
        return False

    def stopped(self) -> bool:
        """Return False."""
        return False

    def may_proceed(self) -> bool:
        """Return True."""
        return True
