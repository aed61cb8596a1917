"""A recipe judged on folds: each sample is held out once, and the whole costs one budget."""

import math

import pytest
import torch
from simulation import SimulatedClock
from torch import nn

from autoaccel import Task
from autoaccel.core.budget import Budget
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.data.prepare import build_model, prepare, refold
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

G = torch.Generator().manual_seed(0)
X = torch.randn(120, 5, generator=G)
TASK = Task(lambda: nn.Linear(5, 2), (X, (X[:, 0] > 0).long()), folds=4)
PRICES = Task(lambda: nn.Linear(5, 1), (X, 1000 * X[:, 0] + 5000), folds=4)


def test_every_sample_is_held_out_once_and_classes_keep_their_share():
    found = prepare(TASK, build_model(TASK, {}), 0).found
    splits = [refold(TASK, found, 0, number).split for number in range(4)]
    assert torch.cat([held for _, held in splits]).sort().values.tolist() == list(range(120))
    for kept, held in splits:
        assert not set(kept.tolist()) & set(held.tolist())
    share = [float(TASK.train[1][held].float().mean()) for _, held in splits]
    assert max(share) - min(share) < 0.05


def test_targets_are_standardized_by_each_folds_own_training_part():
    found = prepare(PRICES, build_model(PRICES, {}), 0).found
    for number in range(4):
        fold = refold(PRICES, found, 0, number)
        assert float(fold.scaling.mean) == pytest.approx(float(PRICES.train[1][fold.split[0]].mean()))


def trial(task, folds, tmp_path, reports):
    request = TrialRequest(0, PLAIN["plain"], Budget(steps=80), milestones=(1.0,), folds=folds)
    report = lambda made: reports.append(made) or True  # noqa: E731
    environment = TrialEnvironment(SimulatedClock(), 0.0, report, folder=tmp_path, cpu=True)
    return run_trial(task, request, environment)


def test_the_metric_is_the_mean_over_folds_and_the_budget_is_shared(tmp_path):
    reports = []
    outcome = trial(TASK, 4, tmp_path, reports)
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    assert len(reports) == 1 and reports[0] == outcome.final
    assert outcome.cost.steps == 80
    assert 0 < outcome.final.standard_error < 0.2
    each = []
    for number in range(4):
        model = nn.Linear(5, 2)
        train_fold(model, number, tmp_path / str(number))
        held = refold(TASK, prepare(TASK, model, 0).found, 0, number).split[1]
        each.append(float((model(X[held]).argmax(1) == TASK.train[1][held]).float().mean()))
    assert outcome.final.metric == pytest.approx(sum(each) / 4, abs=1e-6)
    spread = torch.tensor(each).std() / math.sqrt(4)
    assert outcome.final.standard_error == pytest.approx(float(spread), abs=1e-6)


def train_fold(model, number, folder):
    """Load the weights that a trial with that fold's split alone trains."""
    found = prepare(TASK, model, 0).found
    request = TrialRequest(0, PLAIN["plain"], Budget(steps=20), milestones=(1.0,))
    fold = refold(TASK, found, 0, number)
    run_trial(TASK, request, TrialEnvironment(SimulatedClock(), 0.0, lambda _: True, folder, cpu=True, found=fold))
    load_weights(model, folder / "model.safetensors")


def test_the_first_folds_weights_are_kept(tmp_path):
    trial(TASK, 4, tmp_path, [])
    load_weights(nn.Linear(5, 2), tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"folds": 1}, "folds = 1"), ({"folds": 500}, "folds = 500"), ({"order": "time"}, "later in time")],
)
def test_folds_that_cannot_be_are_refused(changes, words):
    task = Task(lambda: nn.Linear(5, 2), (X, (X[:, 0] > 0).long()), **{"folds": 4, **changes})
    with pytest.raises(TaskError, match=words):
        prepare(task, build_model(task, {}), 0)
