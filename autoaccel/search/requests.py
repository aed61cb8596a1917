"""Build trial requests from a plan and a recipe."""

from __future__ import annotations

import math

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import SLOWER, Purpose, TrialRequest, final_milestones
from autoaccel.search.candidates import Candidate
from autoaccel.search.plan import PLAIN_BATCH, Plan

HANG_SHARE = 0.5
"""A trial that is late by this share of its budget counts as hung; a shorter delay may be due to a busy machine."""
EARLY = 0.4
"""Progress at which a search trial is compared with others on its rung and may be pruned."""


def search_request(
    plan: Plan, rung: int, trial: int, recipe: Recipe, seed: int, origin: str, purpose: Purpose, parent: int | None
) -> TrialRequest:
    """Return a request for a trial on a rung of the ladder; see `TrialRequest` for the arguments."""
    budget = plan.trial_budget(rung)
    # A trial as long as the final training may be delivered, so it is scored like one.
    samples = 0 if rung == plan.top else plan.valid_samples
    return TrialRequest(
        trial=trial,
        recipe=recipe,
        budget=budget,
        purpose=purpose,
        seed=seed,
        milestones=(1.0,) if plan.facts.folds else (EARLY, 1.0),
        micro_batch=_micro_batch(plan),
        origin=origin,
        parent=parent,
        valid_samples=samples,
        evaluation=plan.facts.evaluation_cost(samples),
        finalization=plan.facts.finalization_cost(test=False),
        step=_step(plan, recipe),
        grace=_grace(plan, budget, recipe),
        folds=plan.facts.folds,
    )


def final_request(plan: Plan, budget: Budget, trial: int, chosen: Candidate, seed: int) -> TrialRequest:
    """Return a request for the final training with all that is left; see `TrialRequest` for the arguments."""
    evaluation = plan.facts.evaluation_cost()
    milestones = final_milestones(budget.share(evaluation))
    return TrialRequest(
        trial=trial,
        recipe=chosen.recipe,
        budget=budget,
        purpose=Purpose.FINAL,
        seed=seed,
        milestones=milestones,
        micro_batch=_micro_batch(plan),
        test=plan.facts.n_test > 0,
        origin=chosen.origin,
        parent=chosen.parent,
        evaluation=evaluation,
        finalization=plan.facts.finalization_cost(test=True),
        step=_step(plan, chosen.recipe),
        grace=max(0.3, 0.4 * plan.reserve) if budget.seconds else _grace(plan, budget, chosen.recipe),
        keep_best=len(milestones) > 1,
    )


def _step(plan: Plan, recipe: Recipe) -> Cost:
    """Return what a step of plain training with the recipe's batch size costs."""
    size = recipe.batch_size.parameters.get("size", PLAIN_BATCH)
    samples = size if isinstance(size, int | float) else PLAIN_BATCH  # it may be a schedule
    return plan.facts.train * plan.facts.in_batch(samples)


def _grace(plan: Plan, budget: Budget, recipe: Recipe) -> float | None:
    if budget.seconds:
        return max(2.0, HANG_SHARE * budget.seconds, SLOWER * _step(plan, recipe).seconds)
    grace = 60.0 + 20 * plan.expected_seconds(budget)
    return grace if math.isfinite(grace) else None


def _micro_batch(plan: Plan) -> int:
    # The largest batch is measured, and a run with a pure FLOP budget must not depend on measurements.
    return 0 if plan.budget.deterministic else plan.facts.micro_batch
