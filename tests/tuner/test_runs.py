"""Whole runs through the Python API, on faulty and unusual tasks."""

import csv
import json
import subprocess
import sys

import pytest
import torch

from autoaccel import Result, train, tune
from autoaccel.core.budget import Budget
from autoaccel.core.events import Start
from autoaccel.core.recipe import Recipe
from autoaccel.errors import TaskError
from autoaccel.storage.folder import LOG
from autoaccel.storage.log import read_log

HEAD = """
import torch
from torch import nn
from autoaccel import Task

x = torch.rand(600, 4)
y = (x.sum(1) > 2).long()
"""


def write(folder, body):
    (folder / "model.py").write_text(HEAD + body)
    return str(folder / "model.py")


def test_an_error_in_plain_training_ends_the_run_and_leaves_nothing(tmp_path):
    body = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 2), 0
    def forward(self, x):
        self.calls += 1
        if self.training and self.calls > 40:
            raise KeyError("lost")
        return self.layer(x)
task = Task(model=Net, train=(x, y))
"""
    with pytest.raises(TaskError, match="KeyError: 'lost'") as caught:
        tune(write(tmp_path, body), "30s", out=tmp_path / "run")
    assert "model.py:16" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_recipes_that_fail_are_reported_and_plain_is_delivered(tmp_path):
    body = """
def net(broken=False):
    if broken:
        raise RuntimeError("this size is not built")
    return nn.Linear(4, 2)
task = Task(model=net, train=(x, y), space={"broken": [True]})
"""
    result = tune(write(tmp_path, body), "1e8 FLOPs", out=tmp_path / "run")
    assert result.data["final"]["validation"]["metric"] > 0.4
    (failure,) = result.data["failures"]
    assert "this size is not built" in failure and "model.py:11" in failure
    assert result.model()(torch.zeros(1, 4)).shape == (1, 2)


def test_two_workers_and_a_space_of_the_users_own(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "extends: tabular\noptimizer: {adamw: {lr: 0.003}}\ntechniques: {ema: true, infobatch: false}\n"
    )
    body = "task = Task(model=lambda width=8: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2)),\n"
    body += "            train=(x, y), space={'width': (4, 32)})\n"
    options = {"out": tmp_path / "run", "workers": 2, "devices": "cpu", "space": str(tmp_path / "space.yaml")}
    result = tune(write(tmp_path, body), "2e8 FLOPs", **options)
    rows = [json.loads(line) for line in _starts(tmp_path / "run")]
    recipes = [row["recipe"] for row in rows if row["purpose"] == "search"]
    assert recipes and all((r["optimizer"]["name"], r["optimizer"]["lr"]) == ("adamw", 0.003) for r in recipes)
    assert all("ema" in r["techniques"] and "infobatch" not in r["techniques"] for r in recipes)
    assert any("width" in r["model"] for r in recipes)
    assert result.data["trials"]["complete"] >= 4


def _starts(run):
    from autoaccel.core.codec import to_data
    from autoaccel.core.events import Start
    from autoaccel.storage.log import read_log

    return [json.dumps(to_data(e.request)) for _, e in read_log(run / "events.log") if isinstance(e, Start)]


def test_same_seed_and_flops_give_the_same_run(tmp_path):
    """All trials agree, and pruned ones stop at the same step."""
    path = write(tmp_path, "task = Task(model=lambda: nn.Linear(4, 2), train=(x, y), metric='loss')")
    runs = [tune(path, "5e7 FLOPs", seed=3, out=tmp_path / name) for name in ("a", "b")]
    tables = [[{**row, "seconds": None} for row in trials(tmp_path / name)] for name in ("a", "b")]
    assert tables[0] == tables[1]
    assert "pruned" in {row["outcome"] for row in tables[0]}
    assert runs[0].data["recipe"] == runs[1].data["recipe"]
    assert runs[0].data["final"]["validation"] == runs[1].data["final"]["validation"]


def trials(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_task_defined_where_it_is_tuned(tmp_path):
    """As in a notebook cell, the model and the task exist only in the calling program."""
    script = HEAD + (
        "from autoaccel import tune\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(4, 2)\n"
        "    def forward(self, x):\n        return self.layer(x)\n"
        "task = Task(model=Net, train=(x, y))\n"
        f"result = tune(task, budget='4e6 FLOPs', out={str(tmp_path / 'run')!r})\n"
        "print(result.model()(x[:3]).shape, len(result.leaderboard()))\n"
    )
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=False)
    assert "torch.Size([3, 2])" in done.stdout, done.stderr
    with pytest.raises(TaskError):
        Result.load(tmp_path / "run").model()


def test_a_dataset_that_yields_dicts(tmp_path):
    body = """
class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return len(x)
    def __getitem__(self, i):
        return {"a": x[i, :2], "b": x[i, 2:], "labels": y[i]}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
    def forward(self, a, b):
        return self.layer(torch.cat([a, b], 1))
task = Task(model=Net, train=Rows(), kind="table")
"""
    result = tune(write(tmp_path, body), "4e6 FLOPs", out=tmp_path / "run")
    assert result.data["final"]["validation"]["metric"] > 0.5


@pytest.mark.slow
def test_inline_runs_give_the_same_trials_as_processes(tmp_path):
    path = write(tmp_path, "task = Task(model=lambda: nn.Linear(4, 2), train=(x, y))")
    boards = [
        {
            row["trial"]: row["loss"]
            for row in tune(path, "4e6 FLOPs", out=tmp_path / name, **more).data["leaderboard"]
        }
        for name, more in (("a", {}), ("b", {"executor": "inline"}))
    ]
    shared = boards[0].keys() & boards[1].keys()
    assert {0, 1, 2} <= shared
    assert all(boards[0][trial] == pytest.approx(boards[1][trial], rel=1e-4) for trial in (0, 1, 2))


def test_a_trial_that_is_delivered_is_tested(tmp_path):
    """The longest training is the worst here, so a shorter one is delivered, with its own test score.

    Evaluating so many validation samples is too dear for the final training to do more than once.
    """
    body = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.steps = nn.Linear(4, 2), 0
    def forward(self, x):
        self.steps += self.training
        return self.layer(x) if self.steps < 600 else 0 * self.layer(x) + torch.tensor([9.0, -9.0])
valid = (x.repeat(60, 1), y.repeat(60))
task = Task(model=Net, train=(x, y), valid=valid, test=(x[:100], y[:100]), metric="loss")
"""
    result = tune(write(tmp_path, body), "1.5e7 FLOPs", out=tmp_path / "run")
    delivered = result.data["delivered"]
    assert delivered["what"] in ("trial", "plain") and delivered["test"]["metric"] < 1.0
    assert result.data["final"]["test"]["metric"] > delivered["test"]["metric"]
    assert sum(phase["flops"] for phase in result.data["spent"].values()) <= 1.5e7


def test_a_fault_after_the_last_trial_loses_nothing(tmp_path, monkeypatch):
    def fail(recorder, *_):
        raise TaskError("late")

    monkeypatch.setattr("autoaccel.tuner.recorder.Recorder.deliver", fail)
    path = write(tmp_path, "task = Task(model=lambda: nn.Linear(4, 2), train=(x, y))")
    with pytest.raises(TaskError, match="late"):
        tune(path, "4e6 FLOPs", out=tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "recipe.yaml").exists() and (tmp_path / "run" / "model.safetensors").exists()


def test_train_keeps_the_best_weights_as_tune_does(tmp_path):
    """Targets of chance: the longer the training, the worse the validation loss."""
    body = """
torch.manual_seed(0)
inputs, chance = torch.randn(200, 10), torch.randint(0, 2, (200,))
net = lambda: nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2))
task = Task(model=net, train=(inputs[:100], chance[:100]), valid=(inputs[100:], chance[100:]), metric="loss")
"""
    result = train(write(tmp_path, body), "plain", Budget(steps=700), out=tmp_path / "run", quiet=True)
    final = result.data["final"]
    assert final["progress"] < 0.5 and final["validation"]["loss"] < final["kept"]["last"]["loss"]
    assert "were better on validation than the last" in final["kept"]["why"]
    assert torch.isfinite(result.model()(torch.zeros(1, 10))).all()


def test_a_recipe_that_learns_from_a_finished_model_is_given_one(tmp_path):
    body = "task = Task(model=lambda: nn.Linear(4, 2), train=(x, y))\n"
    model = write(tmp_path, body)
    recipe = Recipe(techniques={"distillation": {}, "rho_loss": {}})
    with pytest.raises(TaskError, match=r"learns from a finished model: train\(\.\.\., reference=RUN\)"):
        train(model, recipe, Budget(steps=20), out=tmp_path / "without", quiet=True)
    assert not (tmp_path / "without").exists()
    train(model, "plain", Budget(steps=200), out=tmp_path / "plain", quiet=True)
    result = train(model, recipe, Budget(steps=20), out=tmp_path / "with", reference=tmp_path / "plain", quiet=True)
    # Both techniques run the finished model once on all 480 samples, besides 20 steps and the evaluations.
    assert result.data["final"]["cost"]["flops"] > 2 * 480 * 2 * 4 * 2


@pytest.mark.slow
def test_a_search_offers_what_learns_from_a_finished_model_once_there_is_one(tmp_path):
    body = "task = Task(model=lambda: nn.Linear(4, 2), train=(x, y))\n"
    (tmp_path / "space.yaml").write_text(
        "schema: 1\n"
        "optimizer: {adamw: {lr: {low: 0.001, high: 0.1, log: true}}}\n"
        "learning_rate: {linear: {}}\n"
        "batch_size: {constant_batch: {size: [32, 64]}}\n"
        "techniques: {distillation: true}\n"
    )
    result = tune(write(tmp_path, body), "2e7 FLOPs", out=tmp_path / "run", space=str(tmp_path / "space.yaml"))
    tried = [entry.request for _, entry in read_log(tmp_path / "run" / LOG) if isinstance(entry, Start)]
    learning = [request for request in tried if "distillation" in request.recipe.techniques]
    assert learning and all(request.reference is not None for request in learning)
    assert result.data["final"]["test"] is None and not result.data["failures"]
