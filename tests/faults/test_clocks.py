"""A wall clock that jumps while a run goes on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

JUMP = """
import pathlib, time
flag, real = pathlib.Path({flag!r}), time.time
time.time = lambda: real() + ({hours} * 3600 if flag.exists() else 0)
"""
MODEL = """
import pathlib, torch
from torch import nn
from autoaccel import Task
x = torch.rand(300, 4)
pathlib.Path({flag!r}).touch()
task = Task(model=lambda: nn.Linear(4, 2), train=(x, (x.sum(1) > 2).long()))
"""


AGE = "from autoaccel.core.clock import seconds_since_process_start as age; print(age(), flush=True)"


def test_the_age_of_a_process_is_exact():
    """Fault: the machine's boot is known in whole seconds. Promise: no part of a second is charged that did not pass."""
    for _ in range(3):
        began = time.monotonic()
        with subprocess.Popen([sys.executable, "-c", AGE], stdout=subprocess.PIPE, text=True) as process:
            age = float(process.stdout.readline())
            assert 0 < age < time.monotonic() - began + 0.02  # it is dated in hundredths of a second
            process.wait()


@pytest.mark.slow
def test_the_age_of_the_shell_that_became_the_process_is_not_counted():
    """Fault: `sh -c "prepare && autoaccel ..."` prepares for long, then becomes autoaccel.
    Promise: the budget begins with autoaccel."""
    command = ["sh", "-c", 'sleep 31 && exec "$0" -c "$1"', sys.executable, AGE]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert 0 < float(found.stdout) < 20


@pytest.mark.slow
@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_jumps_by_an_hour(tmp_path, hours):
    """Fault: the wall clock of every process of a run is set back, or forward, by an hour while the task is loaded.
    Promise: the budget is on a clock that does not jump; a training of 15 s takes neither less nor more."""
    flag = str(tmp_path / "flag")
    (tmp_path / "sitecustomize.py").write_text(JUMP.format(flag=flag, hours=hours))
    (tmp_path / "model.py").write_text(MODEL.format(flag=flag))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "autoaccel.cli", "train", "model.py", "--recipe", "plain", "--budget", "15s"]
    began = time.monotonic()
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    seconds = time.monotonic() - began
    assert ended.returncode == 0, ended.stderr
    assert Path(flag).exists() and 10 < seconds < 20
