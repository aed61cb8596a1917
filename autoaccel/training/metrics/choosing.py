"""Find the metric that the user names, and how it is averaged over classes where that was left open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from autoaccel.core.goal import FOOTPRINT
from autoaccel.errors import TaskError, suggestion
from autoaccel.training.metrics.metric import MeanMetric, Metric, OutputMetric, PredictionMetric, perplexity
from autoaccel.training.metrics.needs import maximizes, needs_tensor, takes_weights
from autoaccel.training.metrics.readout import BINARY, CLASSES, VALUES, Readout

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
OURS = ("loss", "perplexity", *ACCURACIES, *ERRORS)
"""Names that need no scikit-learn, with the tasks that they are meant for."""


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
    if name in (*OURS, *ALIASES):
        return True
    from autoaccel.training.metrics.scorers import names

    return name in names()


def needs_scikit_learn(metric: object) -> bool:
    """Return whether a metric that a user gave is none of ours, but one that scikit-learn may have."""
    known = (*OURS, *FOOTPRINT)
    return isinstance(metric, str) and ALIASES.get(metric, metric).removeprefix("neg_") not in known


def _callable(metric: Callable[..., Any], direction: str | None, on: str, readout: Readout) -> Metric:
    if hasattr(metric, "_score_func") and on == "prediction":  # a scorer of scikit-learn
        from autoaccel.training.metrics.scorers import of_scorer

        return of_scorer(metric._score_func.__name__, metric, direction, readout)
    inner = metric.func if isinstance(metric, partial) else metric
    name = getattr(inner, "__name__", type(inner).__name__)
    if on == "prediction" and str(getattr(inner, "__module__", "")).startswith("sklearn."):
        from autoaccel.training.metrics.scorers import is_function, of_function

        if is_function(inner, name):
            return of_function(name, metric, direction, readout)
    maximize = maximizes(name, direction)
    if on == "output":
        return OutputMetric(name, maximize, function=metric)
    return PredictionMetric(
        name, maximize, readout=needs_tensor(name, readout), function=metric, weighted=takes_weights(metric)
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
    from autoaccel.training.metrics.scorers import find, names

    if (found := find(name, direction, readout)) is None:
        accepted = ["loss", "perplexity", *ALIASES, *names()]
        known = "a scikit-learn scorer or metric name, 'loss', 'perplexity' or a callable"
        raise TaskError(f"unknown metric {name!r}; accepted is {known}{suggestion(name, accepted)}")
    return found
