"""Look at the machine in a process beside the import of the user's file.

Naming the GPUs starts CUDA, which takes a second or more, and which a process that is forked later could not use.
Even asking whether there are any may start it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from contextlib import suppress

import torch

from autoaccel.core.codec import from_data, to_data
from autoaccel.core.machine import VISIBLE, Machine, usable_cpus
from autoaccel.errors import MachineError
from autoaccel.execution.machine import find_machine

PATIENCE = 120.0
"""Seconds in which a driver answers."""


class Looking:
    """A look at the machine that has begun.

    Args:
        cpu: Whether GPUs do not matter.
    """

    def __init__(self, cpu: bool):
        self._needed = not cpu and bool(torch.version.cuda or torch.version.hip)
        self._shown = os.environ.get(VISIBLE)
        if not self._needed:
            return
        self._output, theirs = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _tell(theirs)
        os.close(theirs)

    def found(self) -> Machine:
        """Wait for what was found.

        Raises:
            MachineError: If torch cannot use the GPUs that it finds.
        """
        if not self._needed:
            return Machine((), usable_cpus())
        text = self._heard()
        if self._shown != os.environ.get(VISIBLE) or not text.startswith("{"):
            # The user's file has chosen among them, or CUDA was started before the fork.
            text = _fresh()
        if not text.startswith("{"):
            raise MachineError(f"torch cannot use the GPUs ({text}); `--devices cpu` does without")
        return from_data(Machine, json.loads(text))

    def _heard(self) -> str:
        with os.fdopen(self._output) as output:
            text = output.read() if select.select([output], [], [], PATIENCE)[0] else ""
        with suppress(ProcessLookupError, ChildProcessError):  # the user's file may have waited for it
            os.kill(self._pid, signal.SIGKILL)  # it has said all, or hangs
            os.waitpid(self._pid, 0)
        return text


def _fresh() -> str:
    """Return what a process finds that has imported nothing of the user's, or in one line why it finds nothing."""
    command = [sys.executable, "-m", "autoaccel.execution.local.looking"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"the driver did not answer in {PATIENCE:.0f} s"
    return done.stdout.strip() or "the process that looked at them died"


def _look() -> str:
    """Return what is found as JSON, or in one line why nothing is."""
    try:
        return json.dumps(to_data(find_machine()))
    except Exception as error:  # whatever torch and the driver raise
        traceback.print_exc()
        return " ".join(f"{type(error).__name__}: {error}".split())


def _tell(descriptor: int) -> None:
    """Write what is found, and end this process."""
    try:
        os.write(descriptor, _look().encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.stdout.write(_look())
