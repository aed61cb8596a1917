"""Model files such as users have: what is understood of them, and that they train as a loop written by hand does."""

import json
import re
import subprocess
import sys

import pytest
import torch
from by_hand import Given, by_hand, evaluate
from right import MODELS, RIGHT, loaded
from safetensors.torch import load_file

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.data.prepare import prepare
from autoaccel.training.rehearsal import rehearse
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

pytestmark = [
    pytest.mark.filterwarnings("default"),  # users' libraries warn about each other
    pytest.mark.usefixtures("one_thread"),
]
NAMES = sorted(RIGHT)
ONE_OF_FOLDS = {"small_clinic"}
"""Judged on several models, of which a hand-written loop trains one."""


def trained(task, folder, steps=20):
    """Return the outcome of the plain recipe with a constant rate."""
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, folder, cpu=True)
    request = TrialRequest(0, PLAIN["plain_constant"], Budget(steps=steps), test=False)
    return run_trial(task, request, environment)


def load_as_users_do(model, path):
    """Load a weights file with torch alone; names may be missing only where weights are tied."""
    weights = load_file(path)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    state = model.state_dict(keep_vars=True)
    assert not unexpected
    assert all(any(state[name] is state[other] for other in weights) for name in missing), missing


def untouchable(model):
    """Return a copy of what training must not change: frozen weights, and statistics of layers kept in eval mode."""
    model.train()
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    for name, module in model.named_modules():
        if not module.training:
            frozen |= {f"{name}.{key}": buffer for key, buffer in module.named_buffers(recurse=False)}
    return {name: tensor.clone() for name, tensor in frozen.items()}


def test_each_file_is_here():
    assert sorted(path.stem for path in MODELS.glob("*.py")) == NAMES
    for name in NAMES:
        right = loaded(name)[2]
        assert right.why or right.tolerance <= 1e-4, name


@pytest.mark.parametrize("name", NAMES)
def test_what_check_understands(name):
    _, task, right = loaded(name)
    lines = "\n".join(rehearse(task, seed=0, cpu=True).lines())
    for fact in right.facts:
        assert re.search(fact, lines, re.IGNORECASE), f"{fact} is not in\n{lines}"


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_as_by_hand(name, tmp_path):
    module, task, right = loaded(name)
    before, loss, metric = by_hand(right, module, task)
    assert loss < before
    module, task, right = loaded(name)
    outcome = trained(task, tmp_path)
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    assert outcome.final.loss == pytest.approx(loss, rel=right.tolerance)
    assert outcome.final.metric == pytest.approx(metric, rel=right.tolerance)
    if name in ONE_OF_FOLDS:
        return
    module, task, right = loaded(name)
    model = task.model()
    untouched = untouchable(model)
    load = load_as_users_do if right.plain_file else load_weights
    load(model, tmp_path / "model.safetensors")
    assert untouchable(model).keys() == untouched.keys()
    assert all(torch.equal(tensor, untouched[key]) for key, tensor in untouchable(model).items())
    found = evaluate(right, model, Given.of(right, module, task).valid)
    assert found == pytest.approx((outcome.final.loss, outcome.final.metric), rel=1e-4)


def test_one_class_of_one_sample_leaves_the_others_stratified():
    _, task, _ = loaded("rare_species")
    labels = task.train[1]
    held = prepare(task, task.model(), 0).split
    expected = 0.2 * torch.bincount(labels)[:4]
    assert (torch.bincount(labels[held], minlength=5)[:4] - expected).abs().max() <= 1


def call(*arguments, cwd):
    command = [sys.executable, "-m", "autoaccel.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["house_prices", "labels_string", "argparse_script", "fraud_auc"])
def test_the_same_from_the_command_line(name, tmp_path):
    file = MODELS / f"{name}.py"
    checked = call("check", file, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    module, task, right = loaded(name)
    for fact in right.facts:
        assert re.search(fact, checked.stdout + checked.stderr, re.IGNORECASE), fact
    done = call(
        "train", file, "--recipe", "plain_constant", "--steps", "20", "--json", "--devices", "cpu", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    _, loss, metric = by_hand(right, module, task)
    data = json.loads(done.stdout, parse_constant=pytest.fail)  # NaN is no JSON
    assert data["final"]["validation"]["loss"] == pytest.approx(loss, rel=right.tolerance)
    assert data["final"]["validation"]["metric"] == pytest.approx(metric, rel=right.tolerance)
    if name == "labels_string":
        assert data["classes"] == ["setosa", "versicolor", "virginica"]
