"""A whole run as one job of Slurm: submitit submits it and queues it again, and the job runs our command."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission

from autoaccel.errors import PreemptedRunError, UsageError

SIGNAL_DELAY = 90
"""Seconds before the end of a job's time at which Slurm tells it, or up to a minute earlier; a run leaves in 20."""


class RunJob:
    """What the job does: the command, in a process of its own, from the beginning or where the run was cut off.

    Slurm may start it again at any time, so it looks at the run folder for where it is.

    Args:
        command: The command that begins the run.
        run: Its folder.
    """

    def __init__(self, command: Sequence[str], run: Path):
        self._command, self._run = [*command], run
        self._process: subprocess.Popen[bytes] | None = None
        self._terminated = False

    def __call__(self) -> None:
        """Run the command, and end with its exit code if it fails."""
        signal.signal(signal.SIGTERM, self._pass_on)
        self._start()
        code = self._wait()
        if code == PreemptedRunError.exit_code:
            while self._terminated:  # the job was cancelled, or Slurm queues it again itself, when it has killed it
                signal.pause()
            signal.raise_signal(_requeues())
        if code:
            sys.exit(code)

    def checkpoint(self) -> DelayedSubmission:
        """Let the run save itself, and return the job to queue again; submitit calls it at its signal."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGTERM)
            code = self._wait()
            if code != PreemptedRunError.exit_code:  # the run had come to its end, or fails
                sys.exit(code)
        return DelayedSubmission(RunJob(self._command, self._run))

    def _start(self) -> None:
        # The folder of a run that had not come to its search holds nothing to go on with.
        goes_on = (self._run / "config.json").exists() and "--resume" not in self._command
        command = [*self._command, "--resume"] if goes_on else self._command
        # Slurm may send the signal to all processes of the job: the run inherits that it is held back.
        signal.pthread_sigmask(signal.SIG_BLOCK, {_requeues()})
        try:
            self._process = subprocess.Popen(command)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {_requeues()})

    def _wait(self) -> int:
        """Return the exit code of the command at its end."""
        assert self._process is not None
        # Popen.wait would wait for itself when a signal comes in which it is called again.
        end = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        return end.si_status if end.si_code == os.CLD_EXITED else 128 + end.si_status

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True
        if self._process is not None:
            os.kill(self._process.pid, number)


def submit(
    job: RunJob,
    logs: Path,
    name: str,
    minutes: int,
    timeouts: int,
    options: Mapping[str, str | bool],
    cluster: str = "slurm",
) -> submitit.Job[None]:
    """Submit a job that is queued again when it is preempted or its time is over.

    Args:
        job: What it does.
        logs: Folder for its log, and for what submitit keeps of it.
        name: Its name in the queue.
        minutes: Its longest time.
        timeouts: How often it may be queued again because its time was over.
        options: Options of `sbatch`, by their long names.
        cluster: `slurm`, or `local` for processes on this machine, as submitit calls them.

    Raises:
        UsageError: If it is not accepted.
    """
    limits = {"slurm_max_num_timeout": timeouts, "local_max_num_timeout": timeouts}
    # Since Slurm 22.05 srun does not take this one over from sbatch.
    cpus = [f"--cpus-per-task={options['cpus_per_task']}"] if "cpus_per_task" in options else []
    told = io.StringIO()  # submitit prints what the error says again
    try:
        with contextlib.redirect_stderr(told):
            executor = submitit.AutoExecutor(logs, cluster, **limits)
            executor.update_parameters(
                name=name,
                timeout_min=minutes,
                stderr_to_stdout=True,
                slurm_signal_delay_s=SIGNAL_DELAY,
                slurm_srun_args=cpus,
                slurm_additional_parameters={"requeue": True, **options},
            )
            return executor.submit(job)
    except (OSError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise UsageError(f"the job was not submitted: {why or 'sbatch failed without a word'}") from error


def _requeues() -> int:
    """Return the signal at which submitit queues a job again."""
    found: Any = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
    return int(found)
