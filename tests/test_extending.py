"""What the table 'Where do I add ...' of docs/architecture.md promises, done from outside."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autoaccel import Budget, Recipe, train, tune
from autoaccel.core.schedules import Schedule
from autoaccel.errors import TaskError, UsageError
from autoaccel.storage.records import read_record

EXTENDING = Path(__file__).parents[1] / "examples" / "extending"


def test_each_example_is_short():
    assert len(list(EXTENDING.glob("*.py"))) == 4
    for path in EXTENDING.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 60, path.name


def test_a_technique_in_the_model_file(tmp_path):
    """It changes what is trained, and its parameters and extent are checked like those of any other technique."""
    model, losses = str(EXTENDING / "technique.py"), []
    for number, techniques in enumerate(({}, {"gradient_noise": {"scale": Schedule(0.5, 0.1)}})):
        result = train(
            model, Recipe(techniques=techniques), Budget(steps=40), out=tmp_path / str(number), quiet=True
        )
        losses.append(result.data["final"]["validation"]["loss"])
    assert losses[0] != losses[1]
    with pytest.raises(UsageError, match=r"gradient_noise.scal: unknown parameter; did you mean 'scale'"):
        train(
            model,
            Recipe(techniques={"gradient_noise": {"scal": 1}}),
            Budget(steps=4),
            out=tmp_path / "x",
            quiet=True,
        )


@pytest.mark.slow
def test_a_technique_in_the_model_file_is_searched(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "extends: minimal\ntechniques: {gradient_noise: {scale: auto, required: true}}\n"
    )
    options = {"space": str(tmp_path / "space.yaml"), "out": tmp_path / "run", "quiet": True}
    tune(str(EXTENDING / "technique.py"), "2e10 FLOPs", **options)
    searched = [t.request for t in read_record(tmp_path / "run").trials if t.request.origin in ("random", "model")]
    assert all("gradient_noise" in request.recipe.techniques for request in searched)


CHECK = """
import importlib.util, sys
from autoaccel.testing import check_technique
spec = importlib.util.spec_from_file_location("technique", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
check_technique("gradient_noise", module.task)
# A file that is imported under another name declares the same technique, not a second one.
from autoaccel.training.data.discovery import load_target
from autoaccel.techniques.registry import classes
load_target(sys.argv[1])
assert classes()["gradient_noise"] is not module.GradientNoise
"""


def test_a_technique_from_outside_keeps_the_contract():
    """In a process of its own: a technique that is declared stays declared."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(EXTENDING / "technique.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_meter_in_the_model_file_limits_a_training(tmp_path):
    result = train(str(EXTENDING / "meter.py"), "plain", Budget(cpu_seconds=1.5), out=tmp_path / "run", quiet=True)
    cost = result.data["final"]["cost"]
    assert 1.0 < cost["cpu_seconds"] <= 1.6
    assert cost["steps"] > 0 and result.data["final"]["budget"] == "1.5 cpu_seconds"


@pytest.mark.slow
def test_a_run_is_planned_in_any_quantity_that_is_measured(tmp_path):
    result = tune(str(EXTENDING / "meter.py"), Budget(cpu_seconds=12), out=tmp_path / "run", quiet=True)
    spent = json.loads((tmp_path / "run" / "result.json").read_text())["spent"]
    used = sum(phase.get("cpu_seconds", 0.0) for phase in spent.values())
    assert 6 < used <= 12.5
    assert result.data["final"]["validation"]["metric"] > 0.8


def test_a_quantity_that_nobody_measures_is_refused(tmp_path):
    with pytest.raises(TaskError, match="no meter measures joules, only seconds, flops, steps, samples"):
        train(str(EXTENDING / "technique.py"), "plain", Budget(joules=5), out=tmp_path / "run", quiet=True)
