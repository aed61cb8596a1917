"""The task's metric, compared with scikit-learn's on the model's output for the whole validation set."""

from functools import partial

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN
from autoaccel.techniques.registry import build
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task
from autoaccel.training.evaluate import score

N = 120
X = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(N) % 4
BINARY = (X[:, 0] + X[:, 1] > 0.5).long()
LABELS = (X[:, :3] > 0.3).float()
WEIGHTS = torch.rand(N, generator=torch.Generator().manual_seed(1))


def evaluated(targets, outputs, inputs=X, train=None, **task):
    """Return the score of an untrained linear model, and its outputs as an array."""
    valid = (inputs, targets)
    task = Task(lambda: nn.Linear(6, outputs), train or valid, valid=valid, target_scaling=False, **task)
    recipe = PLAIN["plain"].chosen()
    context = assemble(task, build(recipe), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    found = score(context, context.data.valid)
    with torch.no_grad():
        return context.data.metric, found, context.model(inputs).double().numpy()


def softmax(outputs):
    return torch.softmax(torch.as_tensor(outputs), 1).numpy()


def sigmoid(outputs):
    return torch.sigmoid(torch.as_tensor(outputs)).numpy()


@pytest.mark.parametrize("name", ["rmse", "root_mean_squared_error", "neg_root_mean_squared_error", "mse", "mae"])
def test_errors_of_several_outputs_are_scikit_learns(name):
    targets = X[:, :2] * torch.tensor([1.0, 100.0])
    _, found, outputs = evaluated(targets, 2, metric=name)
    functions = {"mse": "mean_squared_error", "mae": "mean_absolute_error"}
    function = getattr(sklearn.metrics, functions.get(name, "root_mean_squared_error"))
    sign = -1 if name.startswith("neg_") else 1
    assert found.metric == pytest.approx(sign * function(targets.numpy(), outputs))
    assert found.standard_error > 0


def test_a_scorer_that_takes_no_weights_gets_none():
    targets = X[:, :1]
    _, found, outputs = evaluated(targets, 1, metric="neg_max_error", weights={"valid": WEIGHTS})
    assert found.metric == pytest.approx(-sklearn.metrics.max_error(targets.numpy(), outputs))


@pytest.mark.parametrize("name", ["neg_log_loss", "log_loss", "neg_brier_score", "top_k_accuracy", "f1"])
def test_a_class_may_have_no_validation_sample(name):
    kept = CLASSES < 3
    metric, found, outputs = evaluated(CLASSES[kept], 4, X[kept], train=(X, CLASSES), metric=name)
    targets, every = CLASSES[kept].numpy(), {"labels": np.arange(4)}
    expected = {
        "neg_log_loss": lambda: -sklearn.metrics.log_loss(targets, softmax(outputs), **every),
        "log_loss": lambda: sklearn.metrics.log_loss(targets, softmax(outputs), **every),
        "neg_brier_score": lambda: -sklearn.metrics.brier_score_loss(targets, softmax(outputs), **every),
        "top_k_accuracy": lambda: sklearn.metrics.top_k_accuracy_score(targets, outputs, k=2, **every),
        "f1": lambda: sklearn.metrics.f1_score(targets, outputs.argmax(1), average="macro"),
    }
    assert found.metric == pytest.approx(expected[name](), rel=1e-5)
    assert metric.maximize == (name != "log_loss")


@pytest.mark.parametrize("name", ["log_loss", "neg_log_loss", "brier_score_loss"])
def test_labels_that_each_are_0_or_1_are_taken_one_by_one(name):
    _, found, outputs = evaluated(LABELS, 3, metric=name)
    function = getattr(sklearn.metrics, name.removeprefix("neg_"))
    expected = function(LABELS.numpy().ravel(), sigmoid(outputs).ravel())
    assert found.metric == pytest.approx(-expected if name.startswith("neg_") else expected, rel=1e-5)


@pytest.mark.parametrize("name", ["hamming_loss", "zero_one_loss", "label_ranking_loss", "coverage_error"])
def test_metrics_of_several_labels_say_that_targets_are_labels(name):
    metric, found, outputs = evaluated(LABELS, 3, metric=name)
    predicted = outputs if name in ("label_ranking_loss", "coverage_error") else outputs > 0
    expected = getattr(sklearn.metrics, name)(LABELS.numpy(), predicted)
    assert found.metric == pytest.approx(expected) and not metric.maximize


def test_functions_of_scikit_learn_get_what_they_are_of():
    _, found, outputs = evaluated(BINARY, 1, metric=sklearn.metrics.roc_auc_score)
    assert found.metric == pytest.approx(sklearn.metrics.roc_auc_score(BINARY, outputs))
    _, found, outputs = evaluated(BINARY, 2, metric=partial(sklearn.metrics.roc_auc_score, max_fpr=0.5))
    margin = outputs[:, 1] - outputs[:, 0]
    assert found.metric == pytest.approx(sklearn.metrics.roc_auc_score(BINARY, margin, max_fpr=0.5))
    metric, found, outputs = evaluated(CLASSES, 4, metric=sklearn.metrics.log_loss)
    assert found.metric == pytest.approx(sklearn.metrics.log_loss(CLASSES, softmax(outputs)), rel=1e-5)
    assert not metric.maximize


@pytest.mark.parametrize("make", [partial, sklearn.metrics.make_scorer])
def test_arguments_of_the_users_are_kept(make):
    beta = make(sklearn.metrics.fbeta_score, beta=2, average="weighted")
    metric, found, outputs = evaluated(CLASSES, 4, metric=beta)
    expected = sklearn.metrics.fbeta_score(CLASSES, outputs.argmax(1), beta=2, average="weighted")
    assert found.metric == pytest.approx(expected)
    assert metric.name == "fbeta_score" and metric.maximize


def test_the_error_of_a_metric_of_positions_is_that_of_whole_samples():
    """Positions of a sample are right or wrong together, so that there are far fewer independent ones."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 9, (200, 40), generator=generator)
    wrong = torch.rand(200, 1, generator=generator) < 0.4
    labels = torch.where(wrong, (tokens + 1) % 9, tokens)
    for row, length in zip(labels, torch.randint(3, 40, (200,), generator=generator).tolist(), strict=True):
        row[length:] = -100
    valid = (tokens, labels)
    task = Task(echo, valid, valid=valid, metric="f1")
    context = assemble(task, build(PLAIN["plain"].chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    found = score(context, context.data.valid)
    predicted, chosen = tokens.numpy(), np.random.default_rng(0)

    def resampled():
        rows = chosen.integers(0, 200, 200)
        counted = labels.numpy()[rows] != -100
        return sklearn.metrics.f1_score(
            labels.numpy()[rows][counted], predicted[rows][counted], average="macro", zero_division=0
        )

    assert found.standard_error == pytest.approx(np.std([resampled() for _ in range(200)]), rel=0.5)


def echo():
    """Return a model that predicts its input."""
    model = nn.Sequential(nn.Embedding(9, 9), nn.Linear(9, 9))
    nn.init.eye_(model[0].weight)
    nn.init.eye_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    return model
