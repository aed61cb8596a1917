"""How far a metric may be off because the validation set is small."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from torch import Tensor

GROUPS = 10
"""Parts of the samples that are left out in turn. More would cost more calls of the metric: this many give the
standard error to about a quarter."""
FEWEST = 20
"""Below this many samples a standard error says nothing."""


def error_of_mean(values: Tensor, counts: Tensor | None) -> float | None:
    """Return the standard error of the mean of values, shape [n], weighted by `counts`; None if unknown."""
    total = len(values) if counts is None else float(counts.double().sum())
    if len(values) < 2 or total <= 0:
        return None
    each = values.double()
    share = 1.0 if counts is None else counts.double()
    mean = (each * share).sum() / total
    spread = ((each - mean) * share).square().sum() * len(values) / (len(values) - 1)
    return known(math.sqrt(float(spread)) / total)


def jackknife(metric: Callable[[np.ndarray], float], labels: np.ndarray | None, count: int) -> float | None:
    """Return the standard error of a metric by leaving out groups of samples in turn; None if unknown.

    Args:
        metric: The metric of the samples at some indices.
        labels: The class of each sample, shape [n], so that each group has its part of each class; or None.
        count: Number of samples.
    """
    if count < FEWEST:
        return None
    order = np.random.default_rng(0).permutation(count)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a part may lack a class, which the whole set does not
        for group in range(GROUPS):
            try:
                found.append(metric(np.sort(np.delete(order, np.s_[group::GROUPS]))))
            except ValueError:
                return None
    return known(math.sqrt((GROUPS - 1) * float(np.var(found))))


def known(error: float) -> float | None:
    """Return an error if it is a finite number, else None."""
    return error if math.isfinite(error) else None
