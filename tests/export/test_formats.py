"""What is exported says how it is run, and that is true."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from autoaccel.core.budget import Budget
from autoaccel.core.events import Finished, Start
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.records import Trials
from autoaccel.core.trial import Outcome, OutcomeKind, TrialRequest
from autoaccel.export.formats import export, script_files
from autoaccel.storage.records import RunRecord

MODEL = """
import os
from pathlib import Path
import torch
from autoaccel import Task
Path("process-" + os.environ.get("RANK", "0")).touch()
x = torch.rand(300, 4, generator=torch.Generator().manual_seed(0))
task = Task(model=lambda: torch.nn.Linear(4, 2), train=(x, (x.sum(1) > 2).long()))
"""


def record(processes, gpus=()):
    """A run that has delivered one trial."""
    request = TrialRequest(0, PLAIN["plain"], Budget(steps=5), processes=processes)
    outcome = Outcome(OutcomeKind.COMPLETE, Cost(steps=5))
    trials = Trials([(0.0, Start(request)), (1.0, Finished(0, outcome))])
    result = {"recipe": PLAIN["plain"].to_data(), "delivered": {"trial": 0}}
    return RunRecord({"seed": 0, "target": "model.py", "slots": {"gpus": list(gpus)}}, trials, 1.0, result)


def launches(script):
    """The commands in a script's first lines."""
    lines = [line.strip() for line in script.split("\n\n")[1].splitlines()]
    return [line.removesuffix(" [MODEL]") for line in lines]


@pytest.mark.parametrize(
    ("processes", "gpus", "started", "kind", "launch"),
    [
        (1, "", 1, "NO", "accelerate launch --config_file accelerate_config.yaml train_best.py"),
        (2, "", 1, "NO", "torchrun --nproc_per_node 2 train_best.py"),
        (1, "0", 1, "NO", "accelerate launch --config_file accelerate_config.yaml train_best.py"),
        (2, "01", 2, "MULTI_GPU", "accelerate launch --config_file accelerate_config.yaml train_best.py"),
    ],
)
def test_what_starts_the_processes(processes, gpus, started, kind, launch):
    """Accelerate starts no others on CPUs, so there its configuration has one process."""
    run = record(processes, gpus)
    config = yaml.safe_load(export(run, "accelerate"))
    assert (config["num_processes"], config["distributed_type"]) == (started, kind)
    assert launches(export(run, "script")) == ["python train_best.py", launch]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_lines_are_true(tmp_path, processes):
    run = record(processes)
    script = export(run, "script")
    files = {"model.py": MODEL, "train_best.py": script, "accelerate_config.yaml": export(run, "accelerate")}
    for name, text in {**files, **script_files(run)}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    said = []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in launches(script):
        done = subprocess.run(
            shlex.split(command),
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(float(done.stdout.rpartition("loss ")[2]))
    assert said[0] == pytest.approx(said[1], rel=1e-3)
    assert len(list(tmp_path.glob("process-*"))) == processes
