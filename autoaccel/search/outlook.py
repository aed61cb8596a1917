"""Whether the budget will probably reach the target, as far as the search's beliefs go."""

from __future__ import annotations

import math

from autoaccel.core.facts import TaskFacts
from autoaccel.core.goal import Target
from autoaccel.search.expectation import SURE
from autoaccel.search.valuation import Valuation

TARGET = "target: "
"""Begins the line of the plan."""


def outlook(target: Target, facts: TaskFacts, valuation: Valuation, length: float) -> str:
    """Return a line if the target is out of reach of what is believed of the best recipe, else an empty one.

    Args:
        target: The value to reach.
        facts: The facts of the task.
        valuation: What the search believes.
        length: The length of the final training, as a share of the run's budget.
    """
    best = next(iter(valuation.leaders(1)), None)
    belief = valuation.belief(best, length) if best and valuation.grounded else None
    if belief is None:
        return ""
    spread = SURE * math.hypot(belief.deviation, belief.noise)
    sign = -1 if facts.maximize else 1
    likely, low, high = (sign * belief.scale.score(belief.mean + part) for part in (0.0, -spread, spread))
    low, high = min(low, high), max(low, high)
    if low <= target.value if not facts.maximize else high >= target.value:
        return ""
    return (
        f"{TARGET}{target} is probably out of reach of this budget: the best recipe so far is expected to end at "
        f"{likely:.4g} ({low:.4g} to {high:.4g}); the search goes on"
    )
