"""Logical nodes with two CPUs each: trials side by side on a node, one that has all of it, and a node that is lost."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MODEL = """
import torch
from torch import nn
from autoaccel import Task
x = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
y = (x.sum(1) > 2).long()
task = Task(model=lambda: nn.Linear(4, 2), train=(x, y), test=(x[:100], y[:100]), metric="loss")
"""
BEGIN = """
import json, sys
from dataclasses import replace
from pathlib import Path
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.codec import to_data
from autoaccel.core.events import Finished, Reported
from autoaccel.core.recipe import PLAIN
from autoaccel.core.resources import Resources
from autoaccel.core.trial import Purpose, TrialRequest
from autoaccel.execution.executors import find_executor

def ended(count):
    outcomes = {}
    while len(outcomes) < count:
        for event in executor.poll(1.0):
            if isinstance(event, Reported):
                executor.proceed(event.report.trial)
            elif isinstance(event, Finished):
                assert event.trial not in outcomes
                outcomes[event.trial] = event.outcome
    return outcomes

def say(value):
    print(json.dumps(value), flush=True)

executor = find_executor("ray")("model.py", Resources(cpu=True, workers=int(sys.argv[1])), SystemClock(), Path("run"))
executor.load(None)
executor.profile(None)
"""
SHARED = """
say([executor.slots.nodes, executor.slots.threads, executor.slots.most])
steps = Budget(steps=30)
executor.start(TrialRequest(0, PLAIN["plain"], steps, devices=2, processes=2))
executor.start(TrialRequest(1, PLAIN["plain"], steps, devices=2))
executor.start(TrialRequest(2, PLAIN["plain"], steps))
executor.start(TrialRequest(3, PLAIN["plain"], steps, devices=4, processes=4))
place = {number: place.node for place in executor._fleet.places for number in place.running}
say([place, sorted(executor._waiting)])
say({trial: to_data(outcome) for trial, outcome in ended(4).items()})
executor.close()
"""
FETCHED = """
final = TrialRequest(0, PLAIN["plain"], Budget(seconds=60.0), Purpose.FINAL, milestones=(0.5, 1.0), grace=20.0)
executor.start(final)
while not list(Path("run/trials/0000/checkpoints").glob("0*/state.pt")):
    assert not [event for event in executor.poll(0.5) if isinstance(event, Finished)], "it ended without a checkpoint"
say(executor._fleet.places[0].node)
sys.stdin.readline()
lost = ended(1)[0]
going_on = replace(final, trial=1, resumes=0, carried=lost.saved, budget=Budget(seconds=lost.saved.seconds + 8.0))
executor.start(going_on)
say([to_data(lost), to_data(ended(1)[1])])
executor.close()
"""
DIVIDED = """
import ray

@ray.remote(num_cpus=1)
class Other:
    def ready(self): return True

other = Other.remote()  # on the node that is not used
ray.get(other.ready.remote())
say([[place.node, place.size] for place in executor._fleet.places])
sys.stdin.readline()
while not any(place.up and place.size == 1 for place in executor._fleet.places):
    executor.poll(1.0)
executor.start(TrialRequest(0, PLAIN["plain"], Budget(steps=5), devices=2, processes=2))
executor.start(TrialRequest(1, PLAIN["plain"], Budget(steps=5)))
place = {number: place.size for place in executor._fleet.places for number in place.running}
say([place, {trial: outcome.kind for trial, outcome in ended(2).items()}])
executor.close()
"""


def python(code, workers, nodes, folder):
    """Start a driver with an executor that has profiled the task."""
    (folder / "model.py").write_text(MODEL)
    (folder / "run").mkdir()
    environment = {**os.environ, **nodes.environment}
    environment.pop("OMP_NUM_THREADS", None)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-c", BEGIN + code, str(workers)]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)


def test_a_trial_has_all_of_a_node_and_trials_share_one(pairs, tmp_path):
    output, errors = python(SHARED, 4, pairs, tmp_path).communicate(timeout=300)
    assert not errors, errors
    slots, (places, waiting), outcomes = map(json.loads, output.splitlines())
    assert slots == [[2, 2], 1, 2]
    assert places["0"] != places["1"] and waiting == [2, 3], "two trials have all there is"
    assert {outcome["kind"] for outcome in outcomes.values()} == {"complete"}, outcomes
    losses = [outcomes[str(trial)]["final"]["loss"] for trial in range(4)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-4), "they train alike"
    weights = [load_file(tmp_path / "run" / "trials" / f"{trial:04d}" / "model.safetensors") for trial in range(4)]
    for name, value in weights[2].items():
        assert all(torch.allclose(each[name], value, atol=1e-5) for each in weights)
    assert outcomes["3"]["reason"] == "on 2 of 4 devices, since no place has all"
    assert not any(outcomes[str(trial)]["reason"] for trial in range(3))


def test_a_final_training_goes_on_from_a_checkpoint_when_its_node_is_lost(pairs, tmp_path):
    process = python(FETCHED, 2, pairs, tmp_path)
    node = json.loads(process.stdout.readline() or process.stderr.read())
    pairs.kill(node)
    output, errors = process.communicate("\n", timeout=300)
    assert process.returncode == 0, errors
    lost, complete = json.loads(output)
    assert lost["kind"] == "lost" and 0 < lost["saved"]["seconds"] <= lost["cost"]["seconds"], lost
    assert complete["kind"] == "complete" and complete["cost"]["steps"] > lost["saved"]["steps"] > 0, complete
    assert "checkpoint" not in (tmp_path / "run" / "trials" / "0001" / "log.txt").read_text(), "it began again"


def test_where_no_node_has_room_for_a_lost_place_there_are_smaller_ones(three_pairs, tmp_path):
    process = python(DIVIDED, 4, three_pairs, tmp_path)
    (lost, size), (_, other) = json.loads(process.stdout.readline() or process.stderr.read())
    assert size == other == 2
    three_pairs.kill(lost)
    output, errors = process.communicate("\n", timeout=300)
    assert process.returncode == 0, errors
    sizes, kinds = json.loads(output)
    assert sizes == {"0": 2, "1": 1} and kinds == {"0": "complete", "1": "complete"}
