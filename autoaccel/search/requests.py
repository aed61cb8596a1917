"""From a decision to a request: what the plan gives a trial beside its recipe."""

from __future__ import annotations

from autoaccel.core.budget import Budget
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import Purpose, TrialRequest
from autoaccel.search.plan import Plan

HANG_SHARE = 0.5
"""A trial that is late by this share of its budget hangs; one that is a little late had a busy machine."""
EARLY = 0.4
"""Progress at which a trial of the search is compared with others of its rung, and may be stopped."""


def search_request(
    plan: Plan, rung: int, trial: int, recipe: Recipe, seed: int, origin: str, purpose: Purpose, parent: int | None
) -> TrialRequest:
    """A trial on a rung of the ladder; see `TrialRequest` for the arguments."""
    budget = plan.trial_budget(rung)
    return TrialRequest(
        trial=trial,
        recipe=recipe,
        budget=budget,
        purpose=purpose,
        seed=seed,
        milestones=(EARLY, 1.0),
        micro_batch=_micro_batch(plan),
        origin=origin,
        parent=parent,
        valid_samples=plan.valid_samples,
        evaluation=plan.evaluation(plan.valid_samples),
        finalization=plan.finalization(test=False),
        grace=_grace(plan, budget),
    )


def final_request(
    plan: Plan, budget: Budget, trial: int, recipe: Recipe, seed: int, origin: str, parent: int | None
) -> TrialRequest:
    """The final training with all that is left; see `TrialRequest` for the arguments."""
    evaluation = plan.evaluation(0)
    return TrialRequest(
        trial=trial,
        recipe=recipe,
        budget=budget,
        purpose=Purpose.FINAL,
        seed=seed,
        # Looks at the curve are for people; where they cost something, there is only the last one.
        milestones=(0.25, 0.5, 0.75, 1.0) if budget.share(evaluation) < 0.01 else (1.0,),
        micro_batch=_micro_batch(plan),
        test=plan.facts.n_test > 0,
        origin=origin,
        parent=parent,
        evaluation=evaluation,
        finalization=plan.finalization(test=True),
        grace=max(0.3, 0.4 * plan.reserve) if budget.seconds else _grace(plan, budget),
    )


def _grace(plan: Plan, budget: Budget) -> float:
    if budget.seconds:
        return max(2.0, HANG_SHARE * budget.seconds)
    return 60.0 + 20 * plan.expected_seconds(budget)


def _micro_batch(plan: Plan) -> int:
    # What fits a device was measured, and nothing measured may enter a decision of a pure FLOP budget.
    return 0 if plan.budget.deterministic else plan.facts.micro_batch
