"""Stopping trials early: compared are trials of the same budget, at the same share of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

FEWEST_RIVALS = 4


def falls_behind(value: float, rivals: Sequence[float], fewest: int = FEWEST_RIVALS) -> bool:
    """Whether a value (smaller is better) is worse than the median of enough rivals.

    Raises:
        ValueError: If `fewest` is not positive.
    """
    if fewest < 1:
        raise ValueError(f"fewest must be positive, got {fewest}")
    if math.isnan(value):
        return True
    finite = [rival if math.isfinite(rival) else math.inf for rival in rivals]
    return len(finite) >= fewest and value > median(finite)


class BudgetPruner(BasePruner):
    """Prunes a trial that is behind the median of the trials with the same budget, at equal cost.

    For use in a plain `study.optimize`: set the trial's budget with `trial.set_user_attr("budget", b)`, and
    report with the index of the milestone as the step, at fixed shares of the budget.

    Args:
        fewest: How many rivals there must be at that budget and milestone.

    Raises:
        ValueError: If `fewest` is not positive.
    """

    def __init__(self, fewest: int = FEWEST_RIVALS):
        if fewest < 1:
            raise ValueError(f"fewest must be positive, got {fewest}")
        self._fewest = fewest

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether `trial` should end now."""
        step = trial.last_step
        if step is None:
            return False
        sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
        budget = trial.user_attrs.get("budget")
        rivals = [
            sign * other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and other.user_attrs.get("budget") == budget
            and step in other.intermediate_values
        ]
        return falls_behind(sign * trial.intermediate_values[step], rivals, self._fewest)
