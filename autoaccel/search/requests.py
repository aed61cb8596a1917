"""Build trial requests from a plan and a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import SLOWER, Purpose, TrialRequest, final_milestones
from autoaccel.search.base import Proposal
from autoaccel.search.candidates import Candidate
from autoaccel.search.evidence import Run
from autoaccel.search.plan import PLAIN_BATCH, Plan
from autoaccel.search.retries import OF_THE_SEARCH, waiting
from autoaccel.search.trials import FORMER, LadderTrials

HANG_SHARE = 0.5
"""A trial that is late by this share of its budget counts as hung; a shorter delay may be due to a busy machine."""
LEAST_GRACE, GRACE = 0.3, 0.4
"""How late the last training of a run may be: seconds, at least, and a share of what is reserved for the end."""
EARLY = 0.4
"""Progress at which a search trial is compared with others on its rung and may be pruned."""


@dataclass(frozen=True)
class Next:
    """A trial of the search to start.

    Args:
        recipe: Its recipe.
        rung: Its rung.
        origin: The source of the recipe, for display.
        purpose: The reason for running it.
        proposal: The proposal of the recipe; None for plain training.
        parent: The shorter trial of the same recipe, if there is one.
        unfinished: The trial that did not end, of which this one is another try.
    """

    recipe: Recipe
    rung: int
    origin: str
    purpose: Purpose = Purpose.SEARCH
    proposal: Proposal | None = None
    parent: TrialRecord | None = None
    unfinished: TrialRecord | None = None


def unfinished(trials: LadderTrials) -> Iterator[Next]:
    """Yield another try of each trial on the ladder that did not end and is to be tried again."""
    for record in waiting(trials.records, *OF_THE_SEARCH):
        request, rung = record.request, trials.rung(record)
        if rung != FORMER:
            parent, proposal = trials.records.get(request.parent), trials.proposal(record)
            yield Next(request.recipe, rung, request.origin, request.purpose, proposal, parent, record)


def longer(trials: LadderTrials, record: TrialRecord, rung: int) -> Next:
    """Return the trial on a higher rung of a recipe that was trained."""
    proposal, request = trials.proposal(record), record.request
    again = proposal and Proposal(proposal.recipe, proposal.origin)
    return Next(request.recipe, rung, request.origin, request.purpose, again, record if record.final else None)


def search_request(plan: Plan, following: Next, trial: int, seed: int) -> TrialRequest:
    """Return a request for a trial on a rung of the ladder; see `TrialRequest` for the arguments."""
    recipe, rung = following.recipe, following.rung
    budget = plan.trial_budget(rung)
    # A trial as long as the final training may be delivered, so it is scored like one, and keeps its best weights.
    last = rung == plan.top and not plan.facts.folds
    samples = 0 if last else plan.valid_samples
    milestones = _milestones(plan, budget) if last else (EARLY, 1.0)
    request = TrialRequest(
        trial=trial,
        recipe=recipe,
        budget=budget,
        purpose=following.purpose,
        seed=seed,
        milestones=(1.0,) if plan.facts.folds else milestones,
        micro_batch=_micro_batch(plan),
        origin=following.origin,
        parent=following.parent.number if following.parent else None,
        valid_samples=samples,
        evaluation=plan.facts.evaluation_cost(samples),
        finalization=plan.facts.finalization_cost(test=False),
        step=step_cost(plan.facts, recipe),
        grace=_grace(plan, budget, recipe),
        folds=plan.facts.folds,
        keep_best=last and len(milestones) > 1,
    )
    return going_on(request, following.unfinished)


def evidence_request(plan: Plan, budget: Budget, trial: int, run: Run, model: TrialRequest) -> TrialRequest:
    """Return a request for a training that is compared with that of the model, and so is like it."""
    request = final_request(plan, budget, trial, Candidate(run.recipe, run.origin), run.seed)
    return replace(like(request, model), purpose=Purpose.EVIDENCE)


def like(request: TrialRequest, model: TrialRequest) -> TrialRequest:
    """Return a request with as many devices and processes as another one, and batches as many times as large."""
    way = replace(request, devices=model.devices, processes=model.processes)
    return replace(way, speed=model.speed, larger=model.larger)


def final_request(plan: Plan, budget: Budget, trial: int, chosen: Candidate, seed: int) -> TrialRequest:
    """Return a request for the final training with all that is left; see `TrialRequest` for the arguments."""
    milestones = _milestones(plan, budget)
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
        evaluation=plan.facts.evaluation_cost(),
        finalization=plan.facts.finalization_cost(test=True),
        step=step_cost(plan.facts, chosen.recipe),
        grace=max(LEAST_GRACE, GRACE * plan.reserve) if budget.seconds else _grace(plan, budget, chosen.recipe),
        keep_best=len(milestones) > 1,
    )


def going_on(request: TrialRequest, unfinished: TrialRecord | None) -> TrialRequest:
    """Return a request for a training that goes on from where an unfinished trial of it has a checkpoint.

    Args:
        request: The request for the whole training.
        unfinished: The last trial of it; None if there is none, and then all of it is trained.
    """
    if unfinished is None or unfinished.checkpoint is None:
        return request
    before, (trial, carried) = unfinished.request, unfinished.checkpoint
    # What was added up in another order differs in the last digits, and the training is to be the same to the last.
    budget = before.budget if _close(request.budget, before.budget) else request.budget
    again = replace(before, trial=request.trial, budget=budget, grace=request.grace)
    return replace(again, resumes=trial, carried=carried)


def _close(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(math.isclose(one[name], other[name]) for name in one)


def _milestones(plan: Plan, budget: Budget) -> tuple[float, ...]:
    return final_milestones(budget.share(plan.facts.evaluation_cost()))


def step_cost(facts: TaskFacts, recipe: Recipe) -> Cost:
    """Return what a step of plain training with the recipe's batch size costs."""
    size = recipe.batch_size.parameters.get("size", PLAIN_BATCH)
    samples = size if isinstance(size, int | float) else PLAIN_BATCH  # it may be a schedule
    return facts.train * facts.in_batch(samples)


def _grace(plan: Plan, budget: Budget, recipe: Recipe) -> float | None:
    if not budget.seconds:
        return None  # nothing that depends on the machine's speed ends it, but that it makes no progress
    return max(2.0, HANG_SHARE * budget.seconds, SLOWER * step_cost(plan.facts, recipe).seconds)


def _micro_batch(plan: Plan) -> int:
    # The largest batch is measured, and a run with a pure FLOP budget must not depend on measurements.
    return 0 if plan.budget.deterministic else plan.facts.micro_batch
