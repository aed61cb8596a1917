"""`train` is killed, asked to end, and resumed: nothing that it has trained is lost."""

import json
import signal

import pytest
import torch
from faulty_runs import SLOW, Run

from autoaccel import Budget, train
from autoaccel.execution.local.patience import Patience
from autoaccel.execution.local.supervisor import Supervisor

STEPS = "3000"
"""Each process needs a second until its first checkpoint, and a step takes 2 ms on a fast machine."""


class Train(Run):
    """A run of `autoaccel train`."""

    def __init__(self, folder, *arguments, model=SLOW):
        super().__init__(folder, *(arguments or ("--steps", STEPS)), model=model)
        self.run = folder / "runs" / "model-train"

    def start(self, *more):
        return self.command("train", "model.py", "--recipe", "plain", *self.arguments, *more)

    def wait_for_checkpoint(self):
        """Wait until a trial has left one that had none before; return its number."""
        before = self.trials_with_checkpoints()
        self.wait_until(lambda: self.trials_with_checkpoints() - before)
        return max(self.trials_with_checkpoints())

    def trials_with_checkpoints(self):
        return {int(made.parts[-4]) for made in self.run.glob("trials/*/checkpoints/0*/manifest.json")}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_killed_training_gives_what_an_unbroken_one_gives(tmp_path):
    """Fault: SIGKILL of the command, SIGTERM of the resumed one, SIGKILL of the third one's worker.
    Promise: bit for bit the weights and scores of an unbroken training; FLOPs and steps are booked once."""
    unbroken = Train(tmp_path / "unbroken").whole()
    run = Train(tmp_path / "broken").start()
    run.wait_for_checkpoint()
    run.kill()
    assert run.nothing_is_left() and not (run.run / "result.json").exists()

    code, output, _ = run.command("status", str(run.run)).end()
    assert code == 0 and "killed during the training" in output and "cut off: trial 0" in output
    code, _, errors = run.start().end()
    assert code == 2 and "--resume" in errors

    run.start("--resume")
    run.wait_for_checkpoint()
    code, _, errors = run.kill(signal.SIGTERM)
    assert code == 75 and f"autoaccel resume {run.run.relative_to(run.folder)}" in errors

    run.command("resume", str(run.run))
    (worker,) = run.workers(run.wait_for_checkpoint())
    worker.kill()
    code, _, errors = run.end()
    assert code == 0, errors
    assert "the process of the training was lost: " in errors

    found = run.result
    assert found["final"]["validation"] == {**unbroken["final"]["validation"]}
    assert found["final"]["test"] == unbroken["final"]["test"]
    for name in ("flops", "steps", "samples"):
        assert found["final"]["cost"][name] == unbroken["final"]["cost"][name]
    ours, theirs = run.weights(), _weights(tmp_path / "unbroken")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not list(run.run.glob("trials/*/checkpoints")) and run.nothing_is_left()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_is_another_is_refused_and_seconds_are_charged(tmp_path):
    """Fault: a training with a budget of time is killed, and resumed with other arguments, and too late.
    Promise: a line for each difference; the time that was used is charged; more can be added."""
    run = Train(tmp_path, "--budget", "20s").start()
    run.wait_for_checkpoint()
    run.kill()
    code, _, errors = run.start("--resume", "--seed", "3").end()
    assert code == 2 and "seed: 0 then, 3 now" in errors
    (tmp_path / "model.py").write_text(SLOW + "\n# changed\n")
    code, _, errors = run.command("resume", str(run.run)).end()
    assert code == 2 and "model.py: changed" in errors and (run.run / "data.pt").exists()
    (tmp_path / "model.py").write_text(SLOW)

    (run.run / "account.json").write_text('{"seconds": 19.5}')
    code, _, errors = run.command("resume", str(run.run)).end()
    assert code == 4 and "--add-budget 1h` goes on from its last checkpoint" in errors
    code, output, errors = run.command("resume", str(run.run), "--add-budget", "40s", "--json").end()
    assert code == 0, errors
    assert json.loads(output)["final"]["budget"] == "1 min"
    seconds = json.loads((run.run / "account.json").read_text())["seconds"]
    assert 50 < seconds < 61


def test_a_training_and_a_search_are_not_taken_for_each_other(tmp_path):
    run = Train(tmp_path, "--steps", "20")
    run.whole()
    code, _, errors = run.command("tune", "model.py", "--flops", "1e8", "--resume", "--out", str(run.run)).end()
    assert code == 2 and "holds a run of train" in errors
    code, _, errors = run.command("report", str(run.run)).end()
    assert code == 0, errors
    assert "Learning curves" in (run.run / "report.html").read_text()
    code, output, errors = run.command("status", str(run.run), "--json").end()
    assert code == 0 and json.loads(output)["state"] == "complete", errors
    code, output, errors = run.command("repair", str(run.run)).end()
    assert code == 0, errors
    assert run.start().end()[0] == 0 and (tmp_path / "runs/model-train-2/result.json").exists()


def _weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "runs/model-train/model.safetensors")


STUCK = SLOW.replace(
    "torch.manual_seed(0)",
    "class Stuck(nn.Module):\n"
    "    def __init__(self):\n        super().__init__()\n        self.register_buffer('steps', torch.zeros(()))\n"
    "    def forward(self, x):\n        self.steps += self.training\n"
    "        time.sleep(1000 if self.steps > 1800 else 0)\n        return x\n"
    "torch.manual_seed(0)",
).replace("nn.Sequential(", "nn.Sequential(Stuck(), ")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_training_that_always_hangs_at_the_same_step_delivers_what_it_had(tmp_path, monkeypatch):
    """Fault: the 1,801st of 2,400 steps hangs, however often it is tried. Promise: tried again from checkpoints until none
    is newer; then the best weights of the last one are delivered, which load into the user's class and are tested."""
    monkeypatch.setattr(Supervisor, "patience", Patience(idle=3.0, forked=30.0))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two threads that wait for each other take long on a busy machine
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(STUCK)
    result = train("model.py", "plain", Budget(steps=2400), out="run", quiet=True)
    final = result.data["final"]
    assert final["reason"].startswith("cut off; the weights after ") and 1200 < final["cost"]["steps"] <= 1800
    assert result.data["status"] == "interrupted" and final["test"]["metric"] > 0.5
    assert result.model()(torch.zeros(3, 8)).shape == (3, 3)
    tries = [data["outcome"]["kind"] for kind, data in entries(tmp_path / "run") if kind == "finished"]
    assert tries[0] == "lost" and tries[-2:] == ["timed_out", "complete"] and len(tries) <= 8


def entries(run):
    lines = (run / "events.log").read_text().splitlines()
    return [json.loads(line.partition(" ")[2])[1:] for line in lines]
