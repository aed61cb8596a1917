"""When the search ends: as soon as another recipe would bring less than its cost takes from the final training."""

from __future__ import annotations

from autoaccel.search.plan import Plan
from autoaccel.search.valuation import Valuation

FEWEST_NEW = 8
"""Recipes besides the recommended ones that must have been tried before the search may end by this rule: those are
much alike, so that a model of them alone is sure that no other recipe is better."""


def why_end(plan: Plan, valuation: Valuation, promised: float, start: int, left: float, new: int) -> str:
    """Return one line that says why the search ends here, or nothing if it goes on.

    What another recipe may bring is its expected improvement over the best one, as if it were then known exactly.
    To know it takes trials on all rungs from its first one up, which cost about the same each, since one recipe in
    `ETA` is promoted; side by side, each costs its part. While the longest useful training fits anyway, nothing is
    lost.

    Args:
        plan: The plan of the run.
        valuation: What is believed of the recipes.
        promised: What is promised of the most promising new recipe; see `Promise`.
        start: The rung of its first trial.
        left: What is left for the final training now, as a share of the budget.
        new: Number of recipes that were tried besides the recommended ones.
    """
    cost = plan.ladder[start] * (plan.top - start) / plan.at_once
    if new < FEWEST_NEW or not 0 < cost < left:
        return ""
    gain = valuation.gained(promised)
    loss = valuation.lost(min(left, plan.longest), min(left - cost, plan.longest))
    if gain >= loss:
        return ""
    return f"search ended: another recipe may bring {gain:.2g}, its cost takes {loss:.2g} from the final training"
