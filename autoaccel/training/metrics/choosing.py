"""Find the metric that the user names, and how it is averaged over classes where that was left open."""

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

from autoaccel.errors import TaskError, suggestion
from autoaccel.training.metrics.metric import MeanMetric, Metric, OutputMetric, PredictionMetric, perplexity
from autoaccel.training.metrics.readout import BINARY, CLASSES, LABELS, VALUES, Readout

ALIASES = {
    "auc": "roc_auc",
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "mape": "mean_absolute_percentage_error",
}
ACCURACIES = ("accuracy", "accuracy_score")
ROOT = "root_mean_squared_error"
ERRORS: dict[str, tuple[Callable[..., Any], Callable[[float], float]]] = {
    "mean_absolute_error": (lambda predicted, y: (predicted - y).abs(), float),
    "mean_squared_error": (lambda predicted, y: (predicted - y).square(), float),
    ROOT: (lambda predicted, y: (predicted - y).square(), lambda mean: max(mean, 0.0) ** 0.5),
}
"""Metrics of real values that derive from a mean over samples, whose noise is known in closed form."""
OF_PROBABILITIES = ("roc_auc", "average_precision", "brier", "log_loss", "top_k", "ranking", "coverage", "dcg")
OF_EACH_LABEL = ("log_loss", "brier")
"""Metrics that take labels one by one."""
AVERAGED = ("f1", "precision", "recall", "jaccard", "f1_score", "precision_score", "recall_score", "jaccard_score")
SUFFIXES = ("_score", "_loss", "_error", "_deviance", "_coefficient", "_auc", "_coef")
SMALLER = ("_loss", "_error", "_deviance")


def make_metric(
    metric: str | Callable[..., Any] | None, direction: str | None, on: str, readout: Readout, dense: bool
) -> Metric:
    """Return the metric to use.

    Args:
        metric: What the user gave; None for accuracy if each sample has one class, else the loss.
        direction: `max`, `min`, or None to infer it from the metric's name.
        on: What a callable gets: `prediction` or `output`.
        readout: How predictions are read from outputs.
        dense: Whether each sample is a sequence with many targets.

    Raises:
        TaskError: If the metric or the direction is unknown, or the metric does not suit the loss.
    """
    if direction not in (None, "max", "min"):
        raise TaskError(f"direction = {direction!r} is not 'max' or 'min'")
    if on not in ("prediction", "output"):
        raise TaskError(f"metric_on = {on!r} is not 'prediction' or 'output'")
    metric = metric or ("accuracy" if readout.kind in (CLASSES, BINARY) and not dense else "loss")
    if metric == "loss":
        return Metric("loss", direction == "max")
    if metric == "perplexity":
        return Metric("perplexity", direction == "max", perplexity)
    if callable(metric):
        return _callable(metric, direction, on, readout)
    found = _named(ALIASES.get(metric, metric), direction, readout)
    return replace(found, name=metric) if metric in ALIASES and found.name == ALIASES[metric] else found


def is_common(name: str) -> bool:
    """Return whether a metric's name is ours or scikit-learn's, and not that of a function of the user's."""
    return name in ("loss", "perplexity", *ALIASES, *sklearn.metrics.get_scorer_names(), *_functions())


def _callable(metric: Callable[..., Any], direction: str | None, on: str, readout: Readout) -> Metric:
    if hasattr(metric, "_score_func") and on == "prediction":  # a scorer of scikit-learn
        return _of_scorer(metric._score_func.__name__, metric, direction, readout)
    inner = metric.func if isinstance(metric, partial) else metric
    name = getattr(inner, "__name__", type(inner).__name__)
    if on == "prediction" and inspect.isfunction(inner) and getattr(sklearn.metrics, name, None) is inner:
        return _of_function(name, metric, direction, readout)
    maximize = _maximize(name, direction)
    if on == "output":
        return OutputMetric(name, maximize, function=metric)
    return PredictionMetric(
        name, maximize, readout=_needs_tensor(name, readout), function=metric, weighted=_takes_weights(metric)
    )


def _named(name: str, direction: str | None, readout: Readout) -> Metric:
    plain = name.removeprefix("neg_")
    if name in ACCURACIES and readout.kind in (CLASSES, BINARY):
        return MeanMetric(name, direction != "min", readout=readout)
    if plain in ERRORS and readout.kind == VALUES and not (plain == ROOT and readout.columns > 1):
        score, transform = ERRORS[plain]
        sign = -1.0 if plain != name else 1.0
        larger = direction == "max" if direction else plain != name
        return MeanMetric(name, larger, lambda mean: sign * transform(mean), readout=readout, score=score)
    if readout.kind == LABELS and _of_probabilities(name) and hasattr(sklearn.metrics, f"{name}_score"):
        name = f"{name}_score"  # scorers take labels for classes
    if name in sklearn.metrics.get_scorer_names():
        shown, _ = _averaging(name, readout)
        shown = shown if shown in sklearn.metrics.get_scorer_names() else name
        return _of_scorer(shown, sklearn.metrics.get_scorer(shown), direction, readout)
    function = getattr(sklearn.metrics, name, None)
    if not (inspect.isfunction(function) and name.endswith(SUFFIXES)):
        accepted = ["loss", "perplexity", *ALIASES, *sklearn.metrics.get_scorer_names(), *_functions()]
        known = "a scikit-learn scorer or metric name, 'loss', 'perplexity' or a callable"
        raise TaskError(f"unknown metric {name!r}; accepted is {known}{suggestion(name, accepted)}")
    return _of_function(name, function, direction, readout)


def _of_scorer(name: str, scorer: Any, direction: str | None, readout: Readout) -> Metric:
    readout = _each_label(scorer._score_func.__name__, _needs_tensor(name, readout))
    probabilities = scorer._response_method != "predict"
    scorer = copy.copy(scorer)
    scorer._kwargs = {**_labels(scorer._score_func, readout, probabilities), **scorer._kwargs}
    return PredictionMetric(
        name,
        direction != "min",
        readout=readout,
        function=partial(_by_scorer, scorer, readout),
        probabilities=probabilities,
        weighted=_takes_weights(scorer._score_func),
    )


def _of_function(name: str, function: Callable[..., Any], direction: str | None, readout: Readout) -> Metric:
    """Return a metric function of scikit-learn as a metric; it may be a partial with arguments of the user's."""
    readout = _each_label(name, _needs_tensor(name, readout))
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
        _maximize(name, direction),
        readout=readout,
        function=computed,
        probabilities=probabilities,
        weighted=_takes_weights(function),
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


def _takes_weights(function: Callable[..., Any]) -> bool:
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some callables written in C have no signature
        return False


def _needs_tensor(name: str, readout: Readout) -> Readout:
    if readout.kind == "other":
        raise TaskError(
            f"the metric {name} needs predictions, but what the model returns is known to your loss alone; give a"
            " callable with metric_on='output', or metric='loss'"
        )
    return readout


def _functions() -> list[str]:
    return [name for name in sklearn.metrics.__all__ if name.endswith(SUFFIXES)]


def _maximize(name: str, direction: str | None) -> bool:
    if direction:
        return direction == "max"
    if name.endswith(SUFFIXES):
        return not name.endswith(SMALLER)
    raise TaskError(f"whether {name} is to be large or small is not known; add direction='max' or 'min'")


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
