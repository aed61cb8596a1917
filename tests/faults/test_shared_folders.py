"""Several processes at one run folder: one has it, the others are told who."""

import socket
import subprocess
import sys

import pytest
from faulty_runs import SLOW, Run

CLAIM = """
import pathlib, sys, time
from autoaccel.errors import StoreError
from autoaccel.storage.folder import RunFolder
print("ready", flush=True)
sys.stdin.readline()
try:
    held = RunFolder(pathlib.Path(sys.argv[1]))
except StoreError as error:
    print(error, flush=True)
else:
    print("mine", flush=True)
    sys.stdin.readline()
"""


def test_of_ten_that_start_at_once_one_has_the_folder(tmp_path):
    """Fault: ten processes open a folder at the same moment. Promise: one gets it; the others name its process."""
    command = [sys.executable, "-c", CLAIM, str(tmp_path / "run")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    all_of_them = [subprocess.Popen(command, **pipes) for _ in range(10)]
    try:
        for one in all_of_them:
            assert one.stdout.readline() == "ready\n"
        for one in all_of_them:
            one.stdin.write("go\n")
            one.stdin.flush()
        answers = {one.pid: one.stdout.readline() for one in all_of_them}
    finally:
        for one in all_of_them:
            one.kill()
            one.communicate()
    (owner,) = [pid for pid, answer in answers.items() if answer == "mine\n"]
    refused = [answer for pid, answer in answers.items() if pid != owner]
    assert all(f"in use by process {owner} on {socket.gethostname()}" in answer for answer in refused)


@pytest.mark.slow
def test_two_resumers_do_not_train_twice(tmp_path):
    """Fault: a killed run is resumed twice at once. Promise: one goes on, the other ends with exit 5 and its name."""
    run = Run(tmp_path, "--flops", "5e7", model=SLOW).start()
    run.wait_until(lambda: len(run.started()) >= 2)
    run.kill()
    one, other = run.start("--resume").process, run.start("--resume").process
    ended = {process.pid: (process.communicate(timeout=240), process.returncode) for process in (one, other)}
    assert sorted(code for _, code in ended.values()) == [0, 5]
    (errors,) = [text for (_, text), code in ended.values() if code == 5]
    (owner,) = [pid for pid, (_, code) in ended.items() if code == 0]
    assert f"in use by process {owner} on" in errors and errors.count("\n") == 1 and "Traceback" not in errors
    trials = [request["trial"] for request in run.started()]
    assert len(trials) == len(set(trials)) and run.nothing_is_left()
    assert (run.run / "recipe.yaml").exists()
