"""The fork server: a warm process that has imported torch and the user's file, and forks a worker for each job.

It never computes, since neither a thread pool nor a CUDA context survives a fork. If forking is unsafe, it starts
fresh worker processes instead. The user's functions that make data are called here once, so that workers share the
memory.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController

from autoaccel.core.clock import SystemClock
from autoaccel.core.codec import prepare, to_data
from autoaccel.core.facts import TaskFacts
from autoaccel.core.machine import VISIBLE
from autoaccel.core.trial import Outcome, Report, TrialRequest
from autoaccel.errors import AutoaccelError
from autoaccel.execution.local.endings import DUMP
from autoaccel.execution.local.leftovers import (
    AT_MOST,
    Leftovers,
    adopt_orphans,
    die_with,
    has_processes,
    kill_group,
    reap,
)
from autoaccel.execution.local.messages import Channel

BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables with the threads for linear algebra of numpy and scipy, which know of no quota."""


def serve(descriptor: int) -> None:
    """Load the user's task and serve the supervisor until it is gone.

    Args:
        descriptor: File descriptor of the socket to the supervisor.
    """
    channel = Channel(socket.socket(fileno=descriptor))
    folder = Path.cwd()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Workers inherit both: a crash and a hang say where, even if Python itself is stuck.
    faulthandler.enable()
    faulthandler.register(DUMP, all_threads=True, chain=False)
    channel.send("here", pid=os.getpid())
    messages = channel.receive()
    if not messages:
        return
    try:
        target, forks, machine = _load(messages[0])
        techniques = _catalog()
    except AutoaccelError as error:
        channel.send("error", code=error.exit_code, message=str(error), traceback=traceback.format_exc())
        return
    adopt_orphans()
    channel.send("ready", catalog=techniques, forks=forks, machine=machine)
    ForkServer(channel, target, messages[0], forks, folder).serve()


def _load(message: Mapping[str, Any]) -> tuple[Any, bool, Any]:
    """Return the task, with its data where workers share them, whether they may be forked, and the machine."""
    # The default CUDA check initializes CUDA, which then fails in every process that is forked later.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    # One thread while importing the user's file: the threads of a pool would not exist in the forked workers.
    torch.set_num_threads(1)
    from autoaccel.execution.local.looking import Looking

    looking = Looking(message["cpu"])
    _preload()
    from autoaccel.execution.local.sharing import share, threads
    from autoaccel.execution.local.worker import load

    before = threads()
    target = load(message)
    forks = may_fork(before)
    if forks:
        target = share(target, message["seed"], message["metrics"])
        # The collector of a worker would otherwise touch, and so copy, the pages that it shares.
        gc.freeze()
        forks = threads() <= before or may_fork(before)
    return target, forks, to_data(looking.found())


def _catalog() -> list[Any]:
    from autoaccel.techniques.registry import catalog

    return [to_data(info) for info in catalog().values()]


def _preload() -> None:
    """Import what the first training step would import; an optimizer alone takes 0.9 s."""
    import importlib

    for name in (
        "torch._dynamo",
        "torch.utils.flop_counter",
        "autoaccel.core.recipe_file",
        "autoaccel.execution.local.worker",
    ):
        importlib.import_module(name)
    prepare(TrialRequest, Outcome, Report, TaskFacts)
    from autoaccel.training.meters.meters import discover

    discover()


class ForkServer:
    """Forks workers, reports when they have ended, and ends what they leave behind.

    Args:
        channel: The channel to the supervisor.
        target: The user's task, or the function that returns it.
        load: The message that it was loaded from, for workers that are fresh processes.
        forks: Whether workers may be forked.
        folder: Where fresh workers start; the user's file may have left it.
    """

    def __init__(self, channel: Channel, target: Any, load: Mapping[str, Any], forks: bool, folder: Path):
        self._channel = channel
        self._target = target
        self._load = load
        self._forks = forks
        self._folder = folder
        self._workers: dict[int, tuple[int, float]] = {}
        self._ending: dict[int, tuple[int, int, float]] = {}
        self._blas, self._threads = ThreadpoolController(), 0
        self._clock = SystemClock()
        self._leftovers = Leftovers(self._clock)
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)

    def serve(self) -> None:
        """Serve requests until the supervisor is gone; the warden then ends all workers."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)  # what it means is for the supervisor to say
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            alive = True
            while alive:
                for key, _ in selector.select(self._wait()):
                    if key.fileobj is self._wake:
                        self._wake.recv(4096)
                        self._reap()
                    else:
                        alive = self._obey()
        for pid in self._workers:
            kill_group(pid)

    def _obey(self) -> bool:
        messages = self._channel.receive()
        for job in messages or []:
            descriptors = self._channel.descriptor(), self._channel.descriptor()
            pid = self._start(job, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            self._workers[pid] = job["trial"], AT_MOST if len(job["devices"]) > 1 else 0.0
            self._channel.send("forked", trial=job["trial"], pid=pid)
        return messages is not None

    def _start(self, job: Mapping[str, Any], descriptor: int, beats: int) -> int:
        if not self._forks or job["fresh"]:
            return _spawn({**job, "load": self._load}, descriptor, beats, self._folder)
        self._limit_blas(job["threads"])
        template = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_worker(job, descriptor, beats, template)
        return pid

    def _limit_blas(self, threads: int) -> None:
        """Let numpy and scipy have as many threads as a worker may. There it would take a tenth of a second."""
        if threads != self._threads and not any(name in os.environ for name in BLAS):
            self._blas.limit(limits=threads, user_api="blas")
            self._threads = threads

    def _become_worker(self, job: Mapping[str, Any], descriptor: int, beats: int, template: int) -> None:
        code = 1
        try:
            os.setsid()
            die_with(template)
            adopt_orphans()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._channel.close()
            _redirect(job["log"])
            os.environ.update(_environment(job))
            from autoaccel.execution.local.beats import Beats
            from autoaccel.execution.local.worker import work

            work(lambda: self._target, job, Channel(socket.socket(fileno=descriptor)), Beats(beats))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        ended = [(pid, status) for pid, status in reap().items() if pid in self._workers]
        for pid, status in ended:
            trial, most = self._workers.pop(pid)
            if sys.platform != "linux":  # no orphans come here
                kill_group(pid)
            self._ending[pid] = trial, os.waitstatus_to_exitcode(status), self._clock.now() + most
        if ended:
            self._leftovers.sweep(self._workers)
        self._tell_ended()

    def _tell_ended(self) -> None:
        """Say which jobs have ended: of several processes all, each of which holds a device."""
        for pid, (trial, status, until) in list(self._ending.items()):
            if self._clock.now() >= until or not has_processes(pid):
                del self._ending[pid]
                self._channel.send("exited", trial=trial, status=status)

    def _wait(self) -> float | None:
        """Do what is due; return after how many seconds something else is, None for never."""
        self._tell_ended()
        due = [until - self._clock.now() for *_, until in self._ending.values()]
        if (later := self._leftovers.finish()) is not None:
            due.append(later)
        return max(0.0, min(due)) if due else None


def may_fork(before: Set[str]) -> bool:
    """Return whether a forked process can compute: not on macOS, or if the user's file has left CUDA or threads.

    Args:
        before: The threads before the user's file was imported.
    """
    import torch

    from autoaccel.execution.local.sharing import threads

    if torch.cuda.is_initialized() or sys.platform == "darwin":
        return False
    pid = os.fork()
    if pid == 0:
        os._exit(int(torch.cuda._is_in_bad_fork()))
    # Counted after a fork, before which those of OpenBLAS end by themselves; a forked process starts them anew.
    return os.waitpid(pid, 0)[1] == 0 and threads() <= before


def _environment(job: Mapping[str, Any]) -> dict[str, str]:
    """Return a worker's own environment variables, which CUDA reads on first use, and BLAS when it is loaded."""
    threads = {name: str(job["threads"]) for name in BLAS if name not in os.environ}
    return {**threads, **({VISIBLE: job["devices"][0]} if job["devices"][0] else {})}


def _spawn(job: Mapping[str, Any], descriptor: int, beats: int, folder: Path) -> int:
    arguments = [str(os.getpid()), str(descriptor), str(beats), json.dumps(job)]
    environment = {**os.environ, **_environment(job)}
    with Path(job["log"]).open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "autoaccel.execution.local.worker", *arguments],
            pass_fds=[descriptor, beats],
            start_new_session=True,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
        )
    # Reaped with all the others: as an object that is collected, it would take its exit status away.
    started.returncode = 0
    return started.pid


def _redirect(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
