"""The processes of one trial that share each batch: the first one forks the others, and ends them all if one fails.

They are in one session, so that whoever kills the first one's process group ends all of them. The first one trains
too; a thread of its watches the others, since it would wait for one that has died.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from autoaccel.core.clock import SystemClock
from autoaccel.core.codec import to_data
from autoaccel.core.trial import Outcome, OutcomeKind
from autoaccel.execution.local.endings import KernelKills, ending
from autoaccel.execution.local.leftovers import die_with
from autoaccel.execution.local.messages import Channel

HOST = "127.0.0.1"
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
PATIENCE = timedelta(days=7)
"""How long processes wait for each other: whether one hangs is for the supervisor to say."""
GLANCE = 0.05
SETTLING = 0.4
"""Seconds after the first sign of trouble in which others may say what it was: who has lost another fails too."""
LINGER = 5.0
"""Seconds that the others may take to end after the first one has."""
LOST, DONE = "lost", "done"
PEACEFUL = (OutcomeKind.COMPLETE, OutcomeKind.PRUNED, OutcomeKind.PREEMPTED)


@dataclass(frozen=True)
class Trouble:
    """Why a trial of several processes ends.

    Args:
        at: When it was found, in seconds of their clock.
        kind: What kind of message says it; `lost` for a process that could not say anything.
        fields: What the message says.
    """

    at: float
    kind: str
    fields: Mapping[str, Any]

    @property
    def order(self) -> tuple[bool, float]:
        """Sorts the cause first: a process that died, then what was said first."""
        return self.kind != LOST, self.at


class Team:
    """All processes of a trial; made in the first one, it returns in each of them.

    Args:
        devices: The device of each process by name; an empty name stands for what is there without a choice.
        threads: CPU threads of each.
        tell: In the first process, sends a message to the supervisor.

    Attributes:
        rank: The number of this process, from 0.
        first: In the others, the channel to the first one.
    """

    def __init__(self, devices: list[str], threads: int, tell: Callable[..., None]):
        self.rank = 0
        self.first: Channel | None = None
        self._devices, self._threads, self._tell = devices, threads, tell
        self._others: dict[int, tuple[int, Channel]] = {}
        self._clock = SystemClock()
        self._kernel = KernelKills()
        self._lock = threading.Lock()
        self._own: Trouble | None = None
        self._over = threading.Event()
        leader = os.getpid()
        for rank in range(1, len(devices)):
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._follow(rank, leader, Channel(theirs))
                return
            theirs.close()
            self._others[rank] = (pid, Channel(ours))
        threading.Thread(target=self._watch, daemon=True).start()

    def _follow(self, rank: int, leader: int, first: Channel) -> None:
        die_with(leader)
        for _, channel in self._others.values():
            channel.close()
        self._others.clear()
        self.rank, self.first = rank, first

    @property
    def device(self) -> str:
        """The name of this process's device."""
        return self._devices[self.rank]

    def connect(self, cpu: bool) -> None:
        """Let the processes find each other, as torchrun would; Accelerate uses what it finds then."""
        world, store = len(self._devices), self._store()
        settings = {
            "RANK": self.rank,
            "LOCAL_RANK": 0 if self.device else self.rank,  # each sees only its own GPU
            "WORLD_SIZE": world,
            "LOCAL_WORLD_SIZE": world,
            "OMP_NUM_THREADS": self._threads,
        }
        os.environ.update({name: str(value) for name, value in settings.items()})
        for name, value in LOOPBACK.items():
            os.environ.setdefault(name, value)
        on_gpus = not cpu and torch.cuda.is_available()
        distributed.init_process_group(
            "nccl" if on_gpus else "gloo",
            store=store,
            rank=self.rank,
            world_size=world,
            timeout=PATIENCE,
            device_id=torch.device("cuda", 0) if on_gpus else None,
        )

    def _store(self) -> Any:
        world = len(self._devices)
        if self.first is not None:
            [message] = self.first.receive() or [{"port": 0}]
            return TCPStore(HOST, message["port"], world, False, PATIENCE)
        store = TCPStore(HOST, 0, world, True, PATIENCE, wait_for_workers=False)
        for _, channel in self._others.values():
            with suppress(OSError):
                channel.send("port", port=store.port)
        return store

    def settle(self, outcome: Outcome) -> None:
        """Say how this process has ended; the first one waits for the others, or ends with what was wrong first."""
        peaceful, said = outcome.kind in PEACEFUL, {"outcome": to_data(outcome)}
        if self.first is not None:
            with suppress(OSError):
                self.first.send(DONE if peaceful else "outcome", at=self._clock.now(), **said)
        elif peaceful:
            self._over.set()
            self._wait_for_the_others()
        else:
            self._own = Trouble(self._clock.now(), "outcome", said)
            self._over.wait(LINGER)  # the watching thread finds out what came first, and ends this process

    def _wait_for_the_others(self) -> None:
        end = self._clock.now() + LINGER
        while self._others and self._clock.now() < end:
            self._reap()
            self._clock.sleep(GLANCE)
        for pid, _ in self._others.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _watch(self) -> None:
        found: list[Trouble] = []
        while not self._over.is_set():
            found += self._reap()
            found += [self._own] if self._own and self._own not in found else []
            if found and self._clock.now() - found[0].at > SETTLING:
                self._end(min(found, key=lambda trouble: trouble.order))
            self._over.wait(GLANCE)

    def _reap(self) -> list[Trouble]:
        """Take note of the others that have ended; return what went wrong with them."""
        found = []
        with self._lock:
            for rank, (pid, channel) in list(self._others.items()):
                with suppress(ChildProcessError):
                    ended, status = os.waitpid(pid, os.WNOHANG)
                    if not ended:
                        continue
                    del self._others[rank]
                    code = os.waitstatus_to_exitcode(status)
                    why = f"process {rank + 1} of {len(self._devices)} {ending(code, self._kernel)}"
                    said = _said(channel) or [{"kind": LOST, "why": why}]
                    found += [self._trouble(**message) for message in said if message["kind"] != DONE]
                    channel.close()
        return found

    def _trouble(self, kind: str, at: float | None = None, v: int = 0, **fields: Any) -> Trouble:
        return Trouble(self._clock.now() if at is None else at, kind, fields)

    def _end(self, trouble: Trouble) -> None:
        """Say what went wrong, and end all processes of the trial, this one too."""
        with suppress(OSError):
            self._tell(trouble.kind, **trouble.fields)
        sys.stdout.flush()
        sys.stderr.flush()
        os.killpg(0, signal.SIGKILL)


def _said(channel: Channel) -> list[Mapping[str, Any]]:
    """Return what a process that has ended had said."""
    channel.socket.setblocking(False)
    messages: list[Mapping[str, Any]] = []
    while received := channel.receive():
        messages += received
    return messages
