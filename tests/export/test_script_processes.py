"""In two processes a script trains what autoaccel trains in two, and refuses what it refuses."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_script import write

from autoaccel.core.budget import Budget
from autoaccel.core.codec import to_data
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.trial import TrialRequest

pytestmark = pytest.mark.slow
RUN = Path(__file__).parent / "processes_run.py"
STEPS = 24
MILESTONES = (0.5, 1.0)
SOURCE = """
import torch
from torch import nn
from autoaccel import Task

x = torch.randn(SAMPLES + 80, 6, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] * 2 + x[:, 1]).round().long().clamp(0, 2)


class Centered(nn.Module):
    \"\"\"What it has seen, which it keeps in a buffer, changes what it answers in training too.\"\"\"

    def __init__(self):
        super().__init__()
        self.register_buffer("center", torch.zeros(6))

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            self.center = self.center.lerp(x.detach().mean(0), 0.1)
        return x - self.center


class Branches(nn.Module):
    \"\"\"What the batch is decides in training whether one of them is used, and another never is.\"\"\"

    def __init__(self):
        super().__init__()
        self.body, self.side, self.unused = nn.Linear(6, 3), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        both = not self.training or float(x[0, 0]) > 0
        return self.body(x) + self.side(x) if both else self.body(x)


def whole(output, target):
    return nn.functional.cross_entropy(output @ output.T, torch.arange(len(target)))


class Sampled:
    \"\"\"Batches of sizes of their own.\"\"\"

    sizes = (16, 1, 7, 24)

    def __iter__(self):
        yield from torch.arange(sum(self.sizes)).split(self.sizes)

    def __len__(self):
        return len(self.sizes)


class Rows(torch.utils.data.Dataset):
    \"\"\"Samples that are fetched one by one and collated.\"\"\"

    def __len__(self):
        return len(train[0])

    def __getitem__(self, i):
        return train[0][i], train[1][i]


net = lambda *first: lambda: nn.Sequential(*(make() for make in first), nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 3))
norm = lambda: nn.BatchNorm1d(6)
train, valid = (x[80:], y[80:]), (x[:57], y[:57])
loader = lambda: torch.utils.data.DataLoader(Rows(), batch_sampler=Sampled())
task = Task(model=MODEL, train=TRAIN, valid=valid, test=valid, loss=LOSS)
"""


@dataclass(frozen=True)
class Case:
    """A training."""

    model: str = "net()"
    size: int = 64
    samples: int = 300
    micro_batch: int = 0
    train: str = "train"
    loss: str = "None"

    def source(self) -> str:
        """The user's file."""
        parts = {"SAMPLES": str(self.samples), "MODEL": self.model, "TRAIN": self.train, "LOSS": self.loss}
        text = SOURCE
        for name, value in parts.items():
            text = text.replace(name, value)
        return text

    def request(self, techniques: dict) -> TrialRequest:
        """What to train."""
        size, rate = Choice("constant_batch", {"size": self.size}), Choice("constant")
        recipe = Recipe(Choice("adamw", {"lr": 0.01}), rate, size, techniques)
        return TrialRequest(
            0, recipe, Budget(steps=STEPS), milestones=MILESTONES, test=True, micro_batch=self.micro_batch
        )


AVERAGED = {"ema": {"half_life": 0.05}, "mixup": {"alpha": 0.2}}
NORMED = Case(model="net(norm, nn.Dropout)", size=65)
CUT = Case(size=65, micro_batch=32)  # a share of 33 samples is cut, and one of 32 is not
TRAINED = {
    "normed": (NORMED, {}),
    "normed_averaged": (NORMED, AVERAGED),
    "cut": (CUT, {}),
    "cut_averaged": (CUT, AVERAGED),
    "one_batch": (Case(samples=45), {}),
    "buffer": (Case(model="net(Centered)"), {}),
    "branches": (Case(model="Branches"), {}),
    "sampled": (Case(train="loader", micro_batch=4), {"ema": {}}),
}
REFUSED = {
    "whole": (Case(loss="whole"), {}),
    "small": (Case(model="net(norm)", size=32), {}),
    "small_averaged": (Case(model="net(norm)", size=32), AVERAGED),
}


def in_two(*arguments, cwd):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [sys.executable, *launch, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What autoaccel's own training makes of all of them, and the folder in which it did."""
    folder = tmp_path_factory.mktemp("trained")
    for name, (case, techniques) in {**TRAINED, **REFUSED}.items():
        (folder / f"{name}.py").write_text(case.source())
        (folder / f"{name}.json").write_text(json.dumps(to_data(case.request(techniques))))
    done = in_two(RUN, folder, *TRAINED, *REFUSED, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def outcome(folder, name):
    return json.loads((folder / f"{name}-outcome.json").read_text())


def scripted(folder, case, techniques):
    """Run the script in two processes."""
    (folder / "model.py").write_text(case.source())
    recipe = case.request(techniques).recipe
    script = write(folder, recipe, folder / "model.py", steps=STEPS, micro_batch=case.micro_batch)
    return in_two(script, cwd=folder)


@pytest.mark.parametrize("name", TRAINED)
def test_a_script_trains_what_autoaccel_does(outcomes, tmp_path, name):
    found = outcome(outcomes, name)
    assert found["kind"] == "complete", found["reason"]
    done = scripted(tmp_path, *TRAINED[name])
    assert done.returncode == 0, done.stderr[-3000:]
    said = [float(line.rpartition("loss ")[2]) for line in done.stdout.splitlines() if "loss " in line]
    assert said[-2:] == pytest.approx([found["final"]["loss"], found["test"]["loss"]], rel=1e-4)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (outcomes / name, tmp_path))
    for key, weights in ours.items():
        torch.testing.assert_close(theirs[key], weights, rtol=1e-3, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", REFUSED)
def test_a_script_refuses_what_autoaccel_does(outcomes, tmp_path, name):
    found = outcome(outcomes, name)
    assert found["kind"] == "failed"
    done = scripted(tmp_path, *REFUSED[name])
    assert done.returncode != 0
    assert found["reason"] in done.stderr
