"""Secrets of the user's environment: autoaccel takes no address of a database, and passes nothing of these on."""

import os
import subprocess
import sys

from typer.main import get_command

from autoaccel.cli import app

SECRET = "hunter2-for-the-database"
MODEL = """
import os, torch
from torch import nn
from autoaccel import Task
x = torch.rand(300, 4)
def net():
    password = os.environ["DATABASE_URL"]  # in the locals of what fails
    raise ConnectionError("no connection")
task = Task(model=net, train=(x, (x.sum(1) > 2).long()))
"""


def test_no_secret_is_shown_or_kept(tmp_path):
    """Fault: user code fails with a password among its local variables, under `-v`. Promise: exit 3; it is in no line of
    the output, no traceback and no file."""
    (tmp_path / "model.py").write_text(MODEL)
    command = [sys.executable, "-m", "autoaccel.cli", "tune", "model.py", "--budget", "60s", "-v", "--out", "run"]
    environment = {**os.environ, "DATABASE_URL": f"postgresql://me:{SECRET}@host/db"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 3 and "no connection" in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_no_option_takes_the_address_of_a_database():
    """Promise: the study is a file of the run folder, so there is no password to give."""
    commands = get_command(app).commands.values()
    every = [part for command in commands for part in getattr(command, "commands", {"": command}).values()]
    names = {option for command in every for parameter in command.params for option in parameter.opts}
    assert not [name for name in names if any(word in name for word in ("url", "storage", "password", "token"))]
