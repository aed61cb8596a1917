"""The warden: a small process between the supervisor and the fork server that sees to it that nothing is left.

It is there before the user's code and runs none of it, so no hang or crash there stops it. When the fork server
ends, or the supervisor is gone, however that came about, it ends every process that was started below it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from contextlib import suppress

from autoaccel.core.clock import SystemClock
from autoaccel.execution.local.leftovers import adopt_orphans, die_with, end_all_below, reap
from autoaccel.execution.local.messages import Channel

GLANCE = 1.0
"""Seconds between looks whether the supervisor lives: another process of the user's may hold the socket open."""


def main() -> None:
    """Start a fork server, and end everything at its end or the supervisor's.

    The arguments are two file descriptors: of the socket to the supervisor, and of the fork server's own.
    """
    lifeline, descriptor = Channel(socket.socket(fileno=int(sys.argv[1]))), int(sys.argv[2])
    del sys.argv[1:]  # the user's file may read it
    supervisor, warden = os.getppid(), os.getpid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    template = os.fork()
    if template == 0:
        die_with(warden)
        lifeline.close()
        from autoaccel.execution.local.fork_server import serve

        serve(descriptor)
        return
    os.close(descriptor)
    status = _wait(template, lifeline, supervisor)
    end_all_below(SystemClock(), template)
    with suppress(OSError):
        lifeline.send("ended", status=status)


def _wait(template: int, lifeline: Channel, supervisor: int) -> int | None:
    """Return the exit status of the fork server; None if the supervisor is gone before."""
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)  # what they mean is for the supervisor to say
    try:
        while template not in (ended := reap()):
            ready, _, _ = select.select([lifeline.socket, wake], [], [], GLANCE)
            if lifeline.socket in ready or os.getppid() != supervisor:
                return None
            if wake in ready:
                wake.recv(4096)
        return os.waitstatus_to_exitcode(ended[template])
    finally:
        signal.set_wakeup_fd(-1)


if __name__ == "__main__":
    main()
