"""The exported script, assembled from many modules into one namespace."""

import ast
import subprocess
import sys
from collections import Counter

import pytest

from autoaccel.api import train
from autoaccel.core.budget import Budget
from autoaccel.core.recipe import PLAIN, Choice, Recipe
from autoaccel.core.schedules import Schedule
from autoaccel.errors import UsageError
from autoaccel.export.cutting import cut, read_file
from autoaccel.export.script import FOUNDATION, TRAINING, technique_modules, training_script

MODEL = """
import torch
from torch import nn
from autoaccel import Task
x = torch.rand(500, 4, generator=torch.Generator().manual_seed(0))
net = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
task = Task(model=net, train=(x, (x.sum(1) > 2).long()), test=(x[:50], (x[:50].sum(1) > 2).long()))
"""


def test_no_two_sources_define_the_same_name():
    modules = (*FOUNDATION, *technique_modules(), *TRAINING)
    names = Counter(name for module in modules for d in read_file(module).definitions for name in d.names)
    assert [name for name, count in names.items() if count > 1] == []


def test_the_script_holds_only_what_the_recipe_uses():
    script = training_script(PLAIN["plain"], "model.py", 0, {"steps": 3})
    assert "class AdamW(" in script and "class SGD(" not in script
    assert "\nfrom autoaccel" not in script and "@technique" not in script and "= parameter(" not in script


def test_locals_and_annotations_need_no_definition():
    """A local variable may share the name of one of our functions, and protocols occur only in annotations."""
    taken = cut([*FOUNDATION, *TRAINING], "train(None)")
    names = {name for d in taken.definitions for name in d.names}
    assert "Step" in names and "technique" not in names
    assert "Context" not in names and "Progress" in taken.mentioned


def test_hostile_names_stay_data():
    script = training_script(PLAIN["plain"], "a' + evil() + '\n.py", 0, {})
    assert "evil" not in {n.id for n in ast.walk(ast.parse(script)) if isinstance(n, ast.Name)}


def test_a_technique_of_another_package_is_named():
    with pytest.raises(UsageError, match="magic"):
        training_script(Recipe(techniques={"magic": {}}), "model.py", 0, {})


def test_the_script_trains_what_train_does(tmp_path):
    recipe = Recipe(
        Choice("muon", {"lr": Schedule(0.02, 0.01), "weight_decay": 0.1}),
        Choice("rex", {"warmup": 0.1}),
        Choice("constant_batch", {"size": 32}),
        {"mixup": {"alpha": 0.2}, "ema": {"half_life": 0.05}, "clip": {}},
    )
    (tmp_path / "model.py").write_text(MODEL)
    result = train(str(tmp_path / "model.py"), recipe, Budget(steps=80), out=tmp_path / "run", devices="cpu")
    (tmp_path / "script.py").write_text(training_script(recipe, str(tmp_path / "model.py"), 0, {"steps": 80}))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    losses = [float(line.rpartition("loss ")[2]) for line in done.stdout.splitlines()[-2:]]
    final = result.data["final"]
    assert losses == pytest.approx([final["validation"]["loss"], final["test"]["loss"]], rel=1e-4)


SELECTING = Recipe(techniques={"infobatch": {}, "ema": {"half_life": 0.05}})


@pytest.mark.parametrize("recipe", [PLAIN["plain"], SELECTING], ids=["plain", "selecting"])
def test_two_processes_train_what_one_does(tmp_path, recipe):
    """Data parallel with gloo gives the same batches and so the same losses.

    Processes that failed to connect would each print their own validation score.
    """
    (tmp_path / "model.py").write_text(MODEL)
    script = tmp_path / "train_best.py"
    script.write_text(training_script(recipe, str(tmp_path / "model.py"), 0, {"steps": 60}))
    losses = []
    for count in (1, 2):
        launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(count), str(script)]
        done = subprocess.run(
            [sys.executable, "-m", *launch], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("validation at 100%") == 1
        losses.append(float(done.stdout.rpartition("loss ")[2]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_script_carries_no_teacher():
    with pytest.raises(UsageError, match="distillation would learn from"):
        training_script(Recipe(techniques={"distillation": {}}), "model.py", 0, {})
