"""What can be said of a process that has ended, or is about to: its signal, the kernel's memory, its last line."""

from __future__ import annotations

import os
import re
import signal
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import autoaccel
from autoaccel.core.control_group import counter, kills

DUMP = signal.SIGUSR1
"""The signal at which workers and the fork server write the stacks of their threads to their log."""
FRAME = re.compile(r'^ *File "(.+)", line (\d+) in ')
HEADING = re.compile(r"^(Current thread|Thread) 0x")
CURRENT = "Current thread"
WHAT = {
    signal.SIGSEGV: "a crash in native code",
    signal.SIGILL: "an instruction that this CPU does not have",
    signal.SIGABRT: "native code gave up",
    signal.SIGFPE: "a crash in native code",
    signal.SIGBUS: "memory in a file could not be had; /dev/shm, where processes share tensors, may be full",
}


class KernelKills:
    """Tells whether the kernel has killed a process for lack of memory since the last time it was asked."""

    def __init__(self) -> None:
        self._ours, self._all = kills(), _killed_at_all()

    def word(self) -> str:
        """Return what is known of a process that was killed just now."""
        ours, everywhere = kills(), _killed_at_all()
        sure = ours is not None and self._ours is not None and ours > self._ours
        likely = everywhere is None or self._all is None or everywhere > self._all
        self._ours, self._all = ours, everywhere
        if sure:
            return "the kernel ran out of memory"
        if likely:
            return "the kernel probably ran out of memory"
        return "not by the kernel for lack of memory, so by hand or by another program"


def ending(status: int, kernel: KernelKills) -> str:
    """Return how a process ended that the supervisor did not end.

    Args:
        status: Its exit code, or minus the number of the signal that killed it.
        kernel: Knows of kills for lack of memory.
    """
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        which = signal.Signals(-status)
    except ValueError:
        return f"was killed by signal {-status}"
    if which is signal.SIGKILL:
        return f"was killed by signal 9 (SIGKILL), which autoaccel did not send: {kernel.word()}"
    why = f": {WHAT[which]}" if which in WHAT else ""
    return f"was killed by signal {int(which)} ({which.name}){why}"


def last_line(log: Path) -> str:
    """Return `: ` and the last line of a log, or an empty string."""
    with suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""
    return ""


def size(log: Path) -> int:
    """Return the bytes of a log; 0 if there is none."""
    with suppress(OSError):
        return log.stat().st_size
    return 0


def user_line(log: Path, start: int) -> str:
    """Return `file:line` of the innermost frame in the user's own code, or an empty string.

    Of several threads, the one counts that the dump was asked of: the one that trains.

    Args:
        log: A log with stacks that `faulthandler` has written.
        start: Where in it they begin, in bytes.
    """
    with suppress(OSError):
        text = log.read_bytes()[start:].decode(errors="replace")
        threads = sorted(_threads(text), key=lambda thread: not thread[0])  # stable: current ones first
        for _, frames in threads:
            if theirs := [frame for frame in frames if not frame.startswith(_NOT_THEIRS)]:
                return theirs[0]
    return ""


_PATHS = sysconfig.get_paths()
_NOT_THEIRS = (
    str(Path(autoaccel.__file__).resolve().parent),
    *(_PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    "<",
)


def _threads(text: str) -> Iterator[tuple[bool, list[str]]]:
    frames: list[str] = []
    for line in text.splitlines():
        if HEADING.match(line):
            frames = []
            yield line.startswith(CURRENT), frames
        elif found := FRAME.match(line):
            frames.append(f"{found[1]}:{found[2]}")


def _killed_at_all() -> int | None:
    return counter(Path("/proc/vmstat"))


def send(pid: int, which: signal.Signals, group: bool = False) -> None:
    """Send a signal to a process, or to its whole group; do nothing if it has ended."""
    if pid <= 0:
        return
    try:
        (os.killpg if group else os.kill)(pid, which)
    except (ProcessLookupError, PermissionError):
        if group:  # between fork and setsid, the group does not exist yet, but the process does
            send(pid, which)
