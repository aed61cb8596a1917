"""Pruning: compare trials with the same budget at the same progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

FEWEST_RIVALS = 4


def falls_behind(value: float, rivals: Sequence[float], fewest: int = FEWEST_RIVALS) -> bool:
    """Return whether a value (smaller is better) is NaN, or worse than the median of at least `fewest` rivals.

    Raises:
        ValueError: If `fewest` is not positive.
    """
    if fewest < 1:
        raise ValueError(f"fewest must be positive, got {fewest}")
    if math.isnan(value):
        return True
    finite = [rival if math.isfinite(rival) else math.inf for rival in rivals]
    return len(finite) >= fewest and value > median(finite)
