"""The exported script is one namespace cut from many files."""

import ast
import subprocess
import sys
from collections import Counter

import pytest

from autoaccel.export.script import SOURCES, _defined, _parse, _technique_files, training_script
from autoaccel.recipe import PLAIN


def test_no_two_sources_define_the_same_name():
    names = Counter(
        name
        for module in (*SOURCES, *_technique_files())
        for node in _parse(module)[1].body
        for name in _defined(node)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_the_script_holds_only_what_the_recipe_uses():
    script = training_script(PLAIN["plain"], "model.py", 0, {"steps": 3})
    ast.parse(script)
    assert "class AdamW(" in script and "class SGD(" not in script
    assert "from autoaccel" not in script


def test_hostile_names_stay_data():
    script = training_script(PLAIN["plain"], "a' + evil() + '\n.py", 0, {})
    assert "evil" not in {n.id for n in ast.walk(ast.parse(script)) if isinstance(n, ast.Name)}


def test_two_processes_train_what_one_does(tmp_path):
    """Data parallel under `accelerate launch` with gloo: the same batches, so the same losses."""
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\nfrom autoaccel import Task\n"
        "x = torch.rand(500, 4, generator=torch.Generator().manual_seed(0))\n"
        "task = Task(model=lambda: nn.Linear(4, 2), train=(x, (x.sum(1) > 2).long()))\n"
    )
    script = tmp_path / "train_best.py"
    script.write_text(training_script(PLAIN["plain"], str(tmp_path / "model.py"), 0, {"steps": 60}))
    launch = (
        "accelerate.commands.accelerate_cli",
        "launch",
        "--cpu",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    )
    losses = []
    for count in (1, 2):
        command = [
            sys.executable,
            "-m",
            *launch,
            "--dynamo_backend",
            "no",
            "--num_processes",
            str(count),
            str(script),
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("validation:") == 1
        losses.append(float(done.stdout.split("loss ")[1].split()[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
