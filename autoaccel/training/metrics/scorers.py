"""The metrics of scikit-learn. It takes as long to import as torch's optimizers, and many tasks need none of it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import sklearn.metrics
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from autoaccel.training.metrics.metric import Metric, PredictionMetric
from autoaccel.training.metrics.needs import SUFFIXES, maximizes, needs_tensor, takes_weights
from autoaccel.training.metrics.readout import BINARY, CLASSES, LABELS, VALUES, Readout

OF_PROBABILITIES = ("roc_auc", "average_precision", "brier", "log_loss", "top_k", "ranking", "coverage", "dcg")
OF_EACH_LABEL = ("log_loss", "brier")
"""Metrics that take labels one by one."""
AVERAGED = ("f1", "precision", "recall", "jaccard", "f1_score", "precision_score", "recall_score", "jaccard_score")


def find(name: str, direction: str | None, readout: Readout) -> Metric | None:
    """Return the scorer or metric of scikit-learn with a name; None if there is none."""
    if readout.kind == LABELS and _of_probabilities(name) and hasattr(sklearn.metrics, f"{name}_score"):
        name = f"{name}_score"  # scorers take labels for classes
    if name in sklearn.metrics.get_scorer_names():
        shown, _ = _averaging(name, readout)
        shown = shown if shown in sklearn.metrics.get_scorer_names() else name
        return of_scorer(shown, sklearn.metrics.get_scorer(shown), direction, readout)
    function = getattr(sklearn.metrics, name, None)
    if not (inspect.isfunction(function) and name.endswith(SUFFIXES)):
        return None
    return of_function(name, function, direction, readout)


def names() -> list[str]:
    """Return the names that `find` knows."""
    return [*sklearn.metrics.get_scorer_names(), *(n for n in sklearn.metrics.__all__ if n.endswith(SUFFIXES))]


def is_function(function: Callable[..., Any], name: str) -> bool:
    """Return whether a function is scikit-learn's metric of that name."""
    return inspect.isfunction(function) and getattr(sklearn.metrics, name, None) is function


def of_scorer(name: str, scorer: Any, direction: str | None, readout: Readout) -> Metric:
    """Return a scorer of scikit-learn as a metric."""
    readout = _each_label(scorer._score_func.__name__, needs_tensor(name, readout))
    probabilities = scorer._response_method != "predict"
    scorer = copy.copy(scorer)
    scorer._kwargs = {**_labels(scorer._score_func, readout, probabilities), **scorer._kwargs}
    return PredictionMetric(
        name,
        direction != "min",
        readout=readout,
        function=partial(_by_scorer, scorer, readout),
        probabilities=probabilities,
        weighted=takes_weights(scorer._score_func),
    )


def of_function(name: str, function: Callable[..., Any], direction: str | None, readout: Readout) -> Metric:
    """Return a metric function of scikit-learn as a metric; it may be a partial with arguments of the user's."""
    readout = _each_label(name, needs_tensor(name, readout))
    probabilities = _of_probabilities(name)
    shown, named = _averaging(name, readout)
    named = {**named, **_labels(function, readout, probabilities)}
    if isinstance(function, partial):
        shown, named = name, {key: value for key, value in named.items() if key not in function.keywords}

    def computed(targets: np.ndarray, predicted: np.ndarray, **weights: Any) -> float:
        targets, predicted, weights = flat(readout, targets, predicted, weights)
        if readout.kind == CLASSES and readout.classes == 2 and predicted.ndim > 1 and name != "log_loss":
            predicted = predicted[:, 1]  # scikit-learn wants the probability of the second of two classes
        return float(function(targets, predicted, **named, **weights))

    return PredictionMetric(
        shown,
        maximizes(name, direction),
        readout=readout,
        function=computed,
        probabilities=probabilities,
        weighted=takes_weights(function),
    )


def _of_probabilities(name: str) -> bool:
    return any(word in name for word in OF_PROBABILITIES)


def _each_label(name: str, readout: Readout) -> Readout:
    """Return how predictions are read for a metric that knows no samples with several labels: one by one."""
    one_by_one = readout.kind == LABELS and any(word in name for word in OF_EACH_LABEL)
    return replace(readout, kind=BINARY, classes=2) if one_by_one else readout


def _labels(function: Callable[..., Any], readout: Readout, probabilities: bool) -> dict[str, Any]:
    """Return the argument that names all classes, since some may have no sample in the validation data."""
    of_classes = probabilities and readout.kind in (CLASSES, BINARY)
    if not of_classes or "labels" not in inspect.signature(function).parameters:
        return {}
    return {"labels": np.arange(readout.classes)}


def _averaging(name: str, readout: Readout) -> tuple[str, dict[str, Any]]:
    """Return the name with how classes are averaged, and the argument for it, where the user left it open."""
    several = readout.kind == LABELS or (readout.kind == CLASSES and readout.classes > 2)
    if not several:
        return name, {}
    if name in AVERAGED:
        return f"{name.removesuffix('_score')}_macro", {"average": "macro"}
    if readout.kind == LABELS and name.removesuffix("_score") in ("roc_auc", "average_precision"):
        return f"{name.removesuffix('_score')}_macro", {"average": "macro"}
    if name in ("roc_auc", "roc_auc_score") and readout.kind == CLASSES:
        return "roc_auc_ovr", {"multi_class": "ovr"}
    return name, {}


def flat(
    readout: Readout, targets: np.ndarray, predicted: np.ndarray, weights: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return one row a label, as scikit-learn takes them, where a sample has many or they have shape [n, 1]."""
    if readout.kind not in (CLASSES, BINARY) and targets.shape[1:] != (1,):
        return targets, predicted, weights
    each = targets[0].size if len(targets) else 1
    rows = (-1, predicted.shape[-1]) if predicted.ndim > targets.ndim else (-1,)
    repeated = {key: np.repeat(value, each) for key, value in weights.items()}
    return targets.reshape(-1), predicted.reshape(rows), repeated


class _Predictions(BaseEstimator):  # type: ignore[misc]
    """A fitted estimator for scikit-learn's scorers, whose inputs are the predictions themselves."""

    def __init__(self, readout: Readout | None = None):
        self.readout = readout
        self.classes_ = np.arange(max(readout.classes if readout else 0, 2))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any) -> _Predictions:  # noqa: N803 - scikit-learn's signature
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        return X


class _Classifier(ClassifierMixin, _Predictions):  # type: ignore[misc]
    def predict_proba(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        assert self.readout is not None
        return np.stack([1 - X, X], 1) if self.readout.kind == BINARY else X


class _Regressor(RegressorMixin, _Predictions):  # type: ignore[misc]
    pass


def _by_scorer(scorer: Any, readout: Readout, targets: np.ndarray, predicted: np.ndarray, **weights: Any) -> float:
    estimator = _Regressor(readout) if readout.kind == VALUES else _Classifier(readout)
    targets, predicted, weights = flat(readout, targets, predicted, weights)
    return float(scorer(estimator, predicted, targets, **weights))
