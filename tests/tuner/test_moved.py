"""A whole run with options of every form, whose project is renamed afterwards."""

import ast
import csv
import subprocess
import sys

import optuna
import pytest
import torch

from autoaccel import Result, tune
from autoaccel.core.budget import Budget
from autoaccel.errors import StoreError, TaskError
from autoaccel.export.formats import export
from autoaccel.reporting.html import write_report
from autoaccel.storage.records import read_record
from autoaccel.tuner.options import Options

MODEL = """
import torch
from torch import nn
from autoaccel import Task

def net(hidden=(8,), act=None, dropout=False, rate=0.0):
    assert type(hidden) is (list if len(hidden) == 3 else tuple), hidden
    assert act in (None, "ReLU") and (dropout or not rate)
    layers, width = [], 4
    for wanted in hidden:
        layers += [nn.Linear(width, wanted), getattr(nn, act)() if act else nn.Identity(), nn.Dropout(rate)]
        width = wanted
    return nn.Sequential(*layers, nn.Linear(width, 2))

x = torch.rand(600, 4)
SPACE = {
    "hidden": [(8,), (16, 8), [8, 8, 8]],
    "act": [None, "ReLU"],
    "dropout": [True, False],
    "rate": {"low": 0.0, "high": 0.5, "when": {"dropout": True}},
}
task = Task(model=net, train=(x, (x.sum(1) > 2).long()), space=SPACE)
"""


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_options_reach_every_file_and_a_renamed_project_still_loads(tmp_path, monkeypatch):
    project = tmp_path / "of: 10:30"
    project.mkdir()
    (project / "model.py").write_text(MODEL)
    monkeypatch.chdir(project)
    result = tune("model.py", Budget(flops=4e8), options=Options(devices="cpu", space="minimal"))
    assert result.data["status"] == "complete" and not result.data["failures"], result.data["failures"]
    rows = list(csv.DictReader((result.folder / "trials.csv").read_text().splitlines()))
    assert {row["model.hidden"] for row in rows} <= {"", "(8,)", "(16, 8)", "[8, 8, 8]"}
    searched = [row for row in rows if row["purpose"] == "search"]
    assert searched and all(bool(row["model.rate"]) == (row["model.dropout"] == "True") for row in searched)
    stored = optuna.load_study(study_name="model", storage=f"sqlite:///{result.folder}/study.db")
    assert any("model.hidden" in trial.params for trial in stored.trials)

    folder = (tmp_path / "renamed" / result.folder).absolute()
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "renamed")
    moved = Result.load(folder)
    assert torch.isfinite(moved.model()(torch.rand(5, 4))).all()
    assert moved.data["target"] == str(tmp_path / "renamed" / "model.py") and "10:30" not in moved.data["load"]
    assert len(moved.leaderboard()) and "10:30" not in write_report(read_record(folder))
    script = export(read_record(folder), "script")
    given = next(n for n in ast.parse(script).body if isinstance(n, ast.Assign) and n.targets[0].id == "MODEL")
    assert ast.literal_eval(given.value) == moved.best_recipe.model
    (folder / "again.py").write_text(script.replace("STEPS = ", "STEPS = 5  # "))
    # Elsewhere, since it would replace the weights that were delivered.
    script = [sys.executable, str(folder / "again.py")]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    (tmp_path / "renamed" / "model.py").rename(tmp_path / "elsewhere.py")
    with pytest.raises(TaskError, match="no such file"):
        Result.load(folder).model()
    assert Result.load(folder, str(tmp_path / "elsewhere.py")).model()
    with pytest.raises(StoreError):
        Result.load(tmp_path)
