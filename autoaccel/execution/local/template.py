"""The fork server and its warden, as the supervisor sees them: one thing to use, to lose and to start again."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoaccel.core.quantities import format_seconds
from autoaccel.errors import AutoaccelError, MachineError, TaskError
from autoaccel.execution.local.beats import Counts
from autoaccel.execution.local.endings import DUMP, KernelKills, ending, last_line, send, size, user_line
from autoaccel.execution.local.messages import Channel
from autoaccel.execution.local.patience import Patience, Watch, cpu_seconds

LEAVING = 5.0
"""Seconds in which the warden ends everything below it."""


class Template:
    """A warm process that has loaded the user's task, or is about to.

    Args:
        load: What it is to load.
        log: The file for its output.

    Attributes:
        pid: Its process ID; 0 until it is up.
        ready: What it has said when the task was loaded; None until then.
        closed: Whether it was ended.
    """

    def __init__(self, load: Mapping[str, Any], log: Path):
        self.pid = 0
        self.ready: Mapping[str, Any] | None = None
        self._watch = Watch()
        self.closed = False
        self._log = log
        self._begin = size(log)
        ours, theirs = socket.socketpair()
        line, other = socket.socketpair()
        command = [
            sys.executable,
            "-m",
            "autoaccel.execution.local.warden",
            str(other.fileno()),
            str(theirs.fileno()),
        ]
        with log.open("ab") as file:
            # A separate session, so that Ctrl-C in the terminal reaches only the supervisor; a separate log, so
            # that the output of the user's file does not mix with the result on stdout.
            self._warden = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno(), other.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        theirs.close()
        other.close()
        self.channel = Channel(ours)
        self._lifeline = Channel(line)
        self.send("load", **load)

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: Any) -> None:
        """Send it a message; if it is gone, its channel says so when it is read."""
        with suppress(OSError):
            self.channel.send(kind, descriptors=descriptors, **fields)

    def dump(self) -> None:
        """Ask it to write to its log what it does."""
        self._begin = size(self._log)
        send(self.pid, DUMP)

    def where(self) -> str:
        """Return `file:line` of the user's code in what it has written since `dump`, or an empty string."""
        return user_line(self._log, self._begin)

    def hangs(self, now: float, patience: Patience) -> str:
        """Return why it counts as hung while it loads the task, as one line, or an empty string.

        Args:
            now: Seconds on a monotonic clock.
            patience: How long it is waited for.
        """
        watch = self._watch
        watch.look(now, Counts(0, 0, False), lambda: cpu_seconds(self._warden.pid))
        if watch.idle <= patience.load_idle and watch.silent <= patience.load:
            return ""
        what = "nothing has happened" if watch.idle > patience.load_idle else "it has not ended"
        return f"what the user's file does when it is loaded hangs: {what} for {format_seconds(watch.silent)}"

    def failure(self, kernel: KernelKills) -> AutoaccelError:
        """Return why it ended before it had loaded the task for the first time."""
        status = self.close(kill=False)
        how = "ended" if status is None else ending(status, kernel)
        if status is None or -status in (signal.SIGKILL, signal.SIGTERM):
            return MachineError(f"the process that imports the user's file {how}{last_line(self._log)}")
        if status < 0:
            return TaskError(f"the process that imports the user's file {how}", self.where() or None)
        return TaskError(
            f"the user's file ended the process that imported it (exit code {status}){last_line(self._log)}"
        )

    def end(self, kernel: KernelKills, why: str = "") -> str:
        """End it and everything below it, and close its channels; return how it has ended, as one line.

        Args:
            kernel: Knows of kills for lack of memory.
            why: Why it is ended; empty if it has ended by itself.
        """
        status = self.close(kill=bool(why))
        how = why or ("ended" if status is None else ending(status, kernel))
        return f"{how}{last_line(self._log)}"

    def close(self, kill: bool = True) -> int | None:
        """End it and everything below it, and close its channels; return its exit status, None if unknown."""
        if self.closed:
            return None
        self.closed = True
        status = None
        self.channel.close()
        try:
            if kill:
                send(self.pid, signal.SIGKILL)
            else:  # its channel is closed, but it may still be on its way out
                with suppress(subprocess.TimeoutExpired):
                    self._warden.wait(LEAVING)
            with suppress(OSError):
                self._lifeline.socket.shutdown(socket.SHUT_WR)
            self._warden.wait(LEAVING)
            for message in self._lifeline.receive() or []:
                status = message["status"]
        except subprocess.TimeoutExpired:
            self._warden.kill()
            self._warden.wait()
        self._lifeline.close()
        return status
