"""The task's metric: a scikit-learn scorer or metric, a callable, the loss or the perplexity."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn.metrics
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from torch import Tensor

from autoaccel.errors import TaskError, suggestion

Predict = Callable[[np.ndarray, np.ndarray], float]
BOOTSTRAP = 24


@dataclass(frozen=True)
class Metric:
    """The metric by which trials are compared.

    Args:
        name: The name as the user wrote it.
        maximize: Whether larger is better.
        score: `(targets, output) -> float`, or None to derive the metric from the mean loss.
        transform: Maps the mean loss to the metric if `score` is None.
    """

    name: str
    maximize: bool
    score: Predict | None = None
    transform: Callable[[float], float] = float

    def evaluate(self, losses: Tensor, targets: Tensor | None, output: Tensor | None) -> tuple[float, float]:
        """Return the metric and its standard error.

        The standard error is bootstrapped, or follows from the spread of the losses if `score` is None.

        Args:
            losses: Loss of each sample, shape [n].
            targets: All targets; None if the metric derives from the loss.
            output: All outputs in the units of the user's targets; None if the metric derives from the loss.
        """
        if self.score is None or targets is None or output is None:
            mean, error = float(losses.mean()), float(losses.std()) / math.sqrt(max(1, len(losses)))
            value = self.transform(mean)
            return value, abs(self.transform(mean + error) - value) if math.isfinite(error) else 0.0
        y, out = targets.numpy(), output.float().numpy()
        return float(self.score(y, out)), self._standard_error(y, out)

    def _standard_error(self, y: np.ndarray, out: np.ndarray) -> float:
        source = np.random.default_rng(0)
        drawn = []
        for _ in range(BOOTSTRAP):
            rows = source.integers(len(y), size=len(y))
            try:
                drawn.append(float(self.score(y[rows], out[rows])))  # type: ignore[misc]
            except ValueError:  # a resample may lack one of the classes
                continue
        return float(np.std(drawn)) if len(drawn) > 1 else 0.0


class _Predictions(BaseEstimator):  # type: ignore[misc]
    """A fitted estimator for scikit-learn's scorers, whose inputs are the model's outputs."""

    def __init__(self, classes: int = 0):
        self.classes = classes
        self.classes_ = np.arange(max(classes, 2))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any) -> _Predictions:  # noqa: N803 - scikit-learn's signature
        return self


class _Classifier(ClassifierMixin, _Predictions):  # type: ignore[misc]
    def predict(self, output: np.ndarray) -> np.ndarray:
        return predicted_classes(output)

    def predict_proba(self, output: np.ndarray) -> np.ndarray:
        return probabilities(output)


class _Regressor(RegressorMixin, _Predictions):  # type: ignore[misc]
    def predict(self, output: np.ndarray) -> np.ndarray:
        return output


def predicted_classes(output: np.ndarray) -> np.ndarray:
    """Return the predicted class of each row of logits, shape [n]; a single logit is thresholded at 0."""
    if output.ndim == 1 or output.shape[-1] == 1:
        return (output.reshape(len(output)) > 0).astype(np.int64)
    found: np.ndarray = output.argmax(-1)
    return found


def probabilities(output: np.ndarray) -> np.ndarray:
    """Return the probability of each class, shape [n, classes], from logits."""
    logits = torch.from_numpy(output).double()
    if logits.dim() == 1 or logits.shape[-1] == 1:
        positive = torch.sigmoid(logits.reshape(len(logits)))
        return torch.stack([1 - positive, positive], 1).numpy()
    return torch.softmax(logits, -1).numpy()


def make_metric(
    metric: str | Callable[..., Any] | None, direction: str | None, classes: int, tokens: bool
) -> Metric:
    """Return the metric to use.

    Args:
        metric: What the user gave; None for accuracy if there are classes and one target per sample, else the loss.
        direction: `max`, `min`, or None to infer it from the metric's name.
        classes: Number of classes; 0 for real-valued targets.
        tokens: Whether each sample has many targets.

    Raises:
        TaskError: If the metric or the direction is unknown.
    """
    if direction not in (None, "max", "min"):
        raise TaskError(f"direction = {direction!r} is not 'max' or 'min'")
    metric = metric or ("accuracy" if classes and not tokens else "loss")
    if metric == "loss":
        return Metric("loss", maximize=direction == "max")
    if metric == "perplexity":
        return Metric("perplexity", direction == "max", transform=lambda loss: math.exp(min(loss, 80.0)))
    if callable(metric):
        name = getattr(metric, "__name__", "metric")
        return Metric(name, _maximize(name, direction), _from_predictions(metric, classes))
    if metric in sklearn.metrics.get_scorer_names():
        return Metric(metric, direction != "min", _from_scorer(metric, classes))
    function = getattr(sklearn.metrics, metric, None)
    if inspect.isfunction(function) and metric.endswith(_SUFFIXES):
        return Metric(metric, _maximize(metric, direction), _from_function(metric, function, classes))
    accepted = ["loss", "perplexity", *sklearn.metrics.get_scorer_names(), *_functions()]
    known = "a scikit-learn scorer or metric name, 'loss', 'perplexity' or a callable"
    raise TaskError(f"unknown metric {metric!r}; accepted is {known}{suggestion(metric, accepted)}")


_SUFFIXES = ("_score", "_loss", "_error", "_deviance", "_coefficient", "_auc", "_coef")
_SMALLER = ("_loss", "_error", "_deviance")


def _functions() -> list[str]:
    return [name for name in sklearn.metrics.__all__ if name.endswith(_SUFFIXES)]


def _maximize(name: str, direction: str | None) -> bool:
    if direction:
        return direction == "max"
    if name.endswith(_SUFFIXES):
        return not name.endswith(_SMALLER)
    raise TaskError(f"whether {name} is to be large or small is not known; add direction='max' or 'min'")


def _from_scorer(name: str, classes: int) -> Predict:
    scorer = sklearn.metrics.get_scorer(name)
    estimator = _Classifier(classes) if classes else _Regressor()
    return lambda y, output: float(scorer(estimator, output, y))


def _from_predictions(function: Callable[..., Any], classes: int) -> Predict:
    return lambda y, output: float(function(y, predicted_classes(output) if classes else output))


def _from_function(name: str, function: Callable[..., Any], classes: int) -> Predict:
    if name == "log_loss":
        return lambda y, output: float(function(y, probabilities(output), labels=np.arange(max(classes, 2))))
    if "roc_auc" in name or "average_precision" in name or "brier" in name:
        many = {"multi_class": "ovr"} if "roc_auc" in name and classes > 2 else {}
        return lambda y, output: float(function(y, _positive(output, classes), **many))
    if classes > 2 and name in ("f1_score", "precision_score", "recall_score", "jaccard_score"):
        return lambda y, output: float(function(y, predicted_classes(output), average="macro"))
    return _from_predictions(function, classes)


def _positive(output: np.ndarray, classes: int) -> np.ndarray:
    every = probabilities(output)
    return every[:, 1] if classes <= 2 else every
