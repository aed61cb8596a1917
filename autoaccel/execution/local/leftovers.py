"""Processes that user code starts and leaves behind: on Linux they come to whoever started the user code, and end.

A process that adopts gets every orphan below it, also those in sessions of their own. Elsewhere process groups must
do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress

import psutil

from autoaccel.core.clock import Clock

POLITE = 0.5
"""Seconds between SIGTERM and SIGKILL for what is left: some processes, as Python's resource tracker, tidy up."""
AT_MOST = 3.0
"""Seconds after which processes that even SIGKILL does not end, since the kernel holds them, are given up."""
GLANCE = 0.02
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """On Linux, make all orphans below this process its children."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with(parent: int) -> None:
    """On Linux, make the kernel kill this process when its parent dies for any reason.

    Args:
        parent: The parent's process ID. If it has died already, this process ends here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def end_all_below(clock: Clock, first: int) -> None:
    """End all processes below this one, children of children too, whatever session they are in.

    Args:
        clock: Measures how long they are waited for.
        first: The child that is killed at once; others are asked before.
    """
    _signal([p for p in below() if p.pid == first], signal.SIGKILL)
    _signal([p for p in below() if p.pid != first], signal.SIGTERM)
    started = clock.now()
    while clock.now() - started < AT_MOST:
        reap()
        left = below()
        if not left:
            return
        if clock.now() - started > POLITE:
            _signal(left, signal.SIGKILL)
        clock.sleep(GLANCE)


def below() -> list[psutil.Process]:
    """Return the processes below this one that have not ended."""
    with suppress(psutil.Error):
        return [process for process in psutil.Process().children(recursive=True) if _alive(process)]
    return []


def reap() -> dict[int, int]:
    """Collect the children that have ended, without waiting; return their statuses as `waitpid` gives them."""
    ended = {}
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = found[1]
    return ended


def has_processes(group: int) -> bool:
    """Return whether there is a process in a group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of somebody else
        pass
    return True


def kill_group(group: int) -> None:
    """Kill all processes in a group."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter where all have ended
        os.killpg(group, signal.SIGKILL)


class Leftovers:
    """Ends what workers leave behind, without waiting for it.

    Each worker adopts the orphans below it, so that they come here only when it ends.

    Args:
        clock: Measures how long they are waited for.
    """

    def __init__(self, clock: Clock):
        self._clock = clock
        self._kept = set(psutil.Process().children())
        self._session = os.getsid(0)
        self._doomed: dict[psutil.Process, float] = {}

    def sweep(self, workers: Collection[int]) -> None:
        """Ask all children to end that are neither workers nor what the user's file has started.

        Args:
            workers: The workers that run.
        """
        for child in psutil.Process().children():
            if child.pid in workers or child in self._kept or self._ours(child):
                continue
            for process in (child, *_children(child)):
                if process not in self._doomed:
                    _signal([process], signal.SIGTERM)
                    self._doomed[process] = self._clock.now() + POLITE

    def finish(self) -> float | None:
        """Kill those whose time is up; return after how many seconds to call it again, None for never."""
        now = self._clock.now()
        late = [process for process, end in self._doomed.items() if end <= now]
        for process in late:
            _signal([*_children(process), process], signal.SIGKILL)
            del self._doomed[process]
        return max(0.0, min(self._doomed.values()) - now) if self._doomed else None

    def _ours(self, child: psutil.Process) -> bool:
        with suppress(OSError):
            return os.getsid(child.pid) == self._session
        return True


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return list(process.children(recursive=True))
    return []


def _alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _signal(processes: Sequence[psutil.Process], which: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error):  # it has ended, or belongs to somebody else
            process.send_signal(which)
