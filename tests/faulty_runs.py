"""Real runs of the command line for tests that do them harm."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

MODEL = """
import torch
from torch import nn
from autoaccel import Task
torch.manual_seed(0)
x = torch.randn(600, 8)
y = (x @ torch.randn(8, 3)).argmax(1)
task = Task(model=lambda: nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)), train=(x, y), test=(x[:99], y[:99]))
"""
SLOW = MODEL.replace("nn.ReLU()", "Slow()").replace(
    "torch.manual_seed(0)",
    "import time\nclass Slow(nn.ReLU):\n    def forward(self, x):\n        time.sleep(0.001)\n"
    "        return super().forward(x)\ntorch.manual_seed(0)",
)
"""The same with steps of some milliseconds, so that a training lasts while something is done to it."""


class Run:
    """A run of `autoaccel tune` in a folder.

    Args:
        folder: An empty folder.
        arguments: The budget and other arguments.
        model: The text of the model file.
    """

    def __init__(self, folder, *arguments, model=MODEL):
        self.folder, self.run, self.arguments = folder, folder / "runs" / "model", arguments
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.py").write_text(model)
        self.mark = f"autoaccel-test-{os.getpid()}-{id(self)}"
        self.process = None

    def start(self, *more):
        return self.command("tune", "model.py", *self.arguments, *more)

    def command(self, *arguments):
        command = [sys.executable, "-m", "autoaccel.cli", *arguments]
        environment = {**os.environ, "MARK": self.mark, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # The tests themselves may run under nohup.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        return self

    def end(self, seconds=120):
        """Wait for the end; return exit code, stdout and stderr."""
        output, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, output, errors

    def whole(self, *more):
        """Run to the end; return result.json."""
        code, _, errors = self.start(*more).end()
        assert code == 0, errors
        return self.result

    @property
    def result(self):
        return json.loads((self.run / "result.json").read_text())

    def wait_until(self, happened, seconds=120.0):
        """Wait until something is true, and the run still going on."""
        end = time.monotonic() + seconds
        while not happened():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "it never happened"
            time.sleep(0.01)

    def wait_for_final(self, checkpoint=True):
        """Wait until the final training runs and, if asked, has left a checkpoint."""
        self.wait_until(lambda: any(entry["purpose"] == "final" for entry in self.started()))
        number = next(entry["trial"] for entry in self.started() if entry["purpose"] == "final")
        if checkpoint:
            self.wait_until(lambda: list(self.run.glob(f"trials/{number:04d}/checkpoints/0*/manifest.json")))
        return number

    def entries(self):
        """The log's whole lines, as kind and data."""
        path = self.run / "events.log"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line.partition(" ")[2]) for line in lines if line.endswith("]")]
        return [(kind, data) for _, kind, data in found]

    def started(self):
        return [data["request"] for kind, data in self.entries() if kind == "start"]

    def kill(self, which=signal.SIGKILL):
        self.process.send_signal(which)
        return self.end()

    def left(self):
        """The processes that the run has started and that are still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("MARK") == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def nothing_is_left(self, seconds=5.0):
        end = time.monotonic() + seconds
        while (left := self.left()) and time.monotonic() < end:
            time.sleep(0.05)
        return not left

    def workers(self, trial):
        """The processes of a trial: those that write to its log."""
        log = Path(self.run / "trials" / f"{trial:04d}" / "log.txt").resolve()
        return [p for p in self.left() if _writes_to(p, log)]

    def weights(self):
        from safetensors.torch import load_file

        return load_file(self.run / "model.safetensors")


def _writes_to(process, log):
    try:
        return Path(f"/proc/{process.pid}/fd/1").readlink() == log
    except OSError:
        return False
