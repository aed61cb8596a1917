"""Expected improvement, which says what a recipe promises that was not tried yet."""

from __future__ import annotations

import math

import numpy as np

from autoaccel.search.value_model import Prediction

SURE = 9.0
"""Standard deviations of an improvement beyond which chance is no longer a part of it."""


def log_improvement(predicted: Prediction, best: float) -> list[float]:
    """Return the logarithms of the recipes' expected improvements over the best value, small ones being better."""
    from scipy.special import log_ndtr  # a tenth of a second, which only a search has to pay

    ahead = (best - predicted.mean) / predicted.deviation
    # log of z * cdf(z) + pdf(z), which underflows long before its logarithm does
    density = -0.5 * ahead**2 - 0.5 * math.log(2 * math.pi)
    ratio = np.clip(-ahead * np.exp(np.minimum(log_ndtr(ahead) - density, 700.0)), None, 1 - 1e-12)
    close = density + np.log1p(-ratio)
    sure = np.log(np.maximum(ahead, 1.0))  # the improvement is then what is expected
    promised: list[float] = (np.log(predicted.deviation) + np.where(ahead < SURE, close, sure)).tolist()
    return promised
