"""Trials on the nodes of a Ray cluster: the contract of executors, and a node that is lost."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MODEL = """
import torch
from torch import nn
from autoaccel import Task
import beside
x = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
y = (x.sum(1) > beside.ABOVE).long()
task = Task(model=lambda: nn.Linear(4, 2), train=(x, y), test=(x[:100], y[:100]), metric="loss")
"""
CONTRACT = """
from pathlib import Path
from autoaccel.core.clock import SystemClock
from autoaccel.core.resources import Resources
from autoaccel.execution.executors import find_executor
from autoaccel.testing import check_executor
resources = Resources(cpu=True, workers=2)
check_executor(lambda f: find_executor("ray")("task/model.py", resources, SystemClock(), f), Path("run"))
"""
LOSS = """
import json, sys
from pathlib import Path
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Finished
from autoaccel.core.recipe import PLAIN
from autoaccel.core.resources import Resources
from autoaccel.core.trial import TrialRequest
from autoaccel.execution.executors import find_executor

executor = find_executor("ray")("task/model.py", Resources(cpu=True, workers=3), SystemClock(), Path("run"))
executor.load(None)
executor.profile(None)
for trial in range(3):
    executor.start(TrialRequest(trial, PLAIN["plain"], Budget(seconds=40.0), grace=20.0))
executor.poll(5.0)
print(json.dumps([place.node for place in executor._fleet.places]), flush=True)
sys.stdin.readline()
executor.start(TrialRequest(3, PLAIN["plain"], Budget(steps=5)))
ended = {}
while len(ended) < 4:
    for event in executor.poll(1.0):
        if isinstance(event, Finished):
            assert event.trial not in ended
            ended[event.trial] = [event.outcome.kind, event.outcome.reason, event.outcome.cost.seconds]
executor.close()
print(json.dumps(ended))
"""


def write_task(folder):
    (folder / "task").mkdir()
    (folder / "run").mkdir()
    (folder / "task" / "model.py").write_text(MODEL)
    (folder / "task" / "beside.py").write_text("ABOVE = 2\n")


def python(code, folder, cluster):
    environment = {**os.environ, **cluster.environment, "OMP_NUM_THREADS": "1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, text=True, **pipes)


def test_it_keeps_the_contract_of_executors_and_sends_the_folder_of_the_task(cluster, tmp_path):
    write_task(tmp_path)
    process = python(CONTRACT, tmp_path, cluster)
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert not output and not errors, "Ray has printed something"
    assert not cluster.places()
    assert (tmp_path / "run" / "trials" / "0000" / "log.txt").is_file()


def test_a_lost_node_costs_only_the_trial_that_it_runs(cluster, tmp_path):
    write_task(tmp_path)
    process = python(LOSS, tmp_path, cluster)
    nodes = json.loads(process.stdout.readline() or process.stderr.read())
    assert len({*nodes}) == 3, "each node has one CPU"
    cluster.kill(nodes[1])
    output, errors = process.communicate("\n", timeout=300)  # the last trial has the node that was not used
    assert process.returncode == 0, errors
    ended = json.loads(output)
    assert [ended[str(trial)][0] for trial in range(4)] == ["complete", "lost", "complete", "complete"], ended
    assert nodes[1][:8] in ended["1"][1] and ended["1"][2] > 0, ended
