"""What is trained after the final training, or beside it on devices that it leaves idle: trainings like that one.

Plain and the recipe with other seeds are evidence for what is claimed of it. Where more devices do not make the
steps of the final training faster, the rest would idle for most of the budget. In turn with that evidence, they
train the next best recipes, of which one may turn out to be better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import SECONDS, Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import Purpose, TrialRequest
from autoaccel.search.candidates import Candidate
from autoaccel.search.evidence import AS_LONG, Run, length_of, missing
from autoaccel.search.larger_batch import larger_origin, with_larger_batches
from autoaccel.search.plan import Plan
from autoaccel.search.requests import GRACE, evidence_request, final_request, going_on, like
from autoaccel.search.rescue import rescuable
from autoaccel.search.retries import waiting
from autoaccel.search.trials import LadderTrials
from autoaccel.search.usage import Used

EARLIER = 0.03
"""Share of its length by which a training ends before the final one, which may run until the last moment."""


def beside_final(
    plan: Plan, ladder: LadderTrials, runners_up: Iterable[Candidate], seed: int, now: float
) -> TrialRequest | None:
    """Return a training for devices that the final training leaves idle; None if too few are, or none is as long.

    Args:
        plan: The plan of the run.
        ladder: The trials of the run.
        runners_up: The recipes that might have been chosen instead, best first.
        seed: The seed of the run.
        now: Seconds since the start of the run.
    """
    trials, plain = ladder.records, ladder.baseline()
    running = trials.running()
    final = next((one for one in running if one.purpose is Purpose.FINAL and not one.request.rescue), None)
    # Quantities other than seconds would add up.
    if final is None or plain is None or set(plan.budget) != {SECONDS} or plan.facts.folds:
        return None
    model, whole = final.request, Cost(final.request.budget).seconds
    length = (1 - EARLIER) * (ladder.cost(final).seconds - (now - final.started))
    if not _room(plan, model.devices, running) or length < AS_LONG * whole:
        return None
    budget, number = Budget(seconds=length), len(trials)
    since = [one.purpose for one in trials if one.number > final.number]
    had = {*PLAIN.values(), *ladder.recipes_on(plan.top), model.recipe}
    # Plain's own batches would have too small shares where larger ones are needed to keep as many devices busy.
    run = missing(trials, final, plain.request.recipe) if model.larger == 1 else None
    others = _as_large(runners_up, trials, model.larger, plan.facts) if plan.ladder else iter(())
    other = next((one for one in others if one.recipe not in had), None)
    if run and (other is None or since.count(Purpose.EVIDENCE) <= since.count(Purpose.SEARCH)):
        return evidence_request(plan, budget, number, run, model)
    if other is None:
        return None
    request = like(final_request(plan, budget, number, other, seed), model)
    return replace(request, purpose=Purpose.SEARCH, test=False)  # it is tested if it is delivered


def after_final(plan: Plan, ladder: LadderTrials, model: TrialRecord | None, now: float) -> TrialRequest | None:
    """Return a training to show how good the delivered recipe is; None if no other fits or adds to it.

    Args:
        plan: The plan of the run.
        ladder: The trials of the run.
        model: The trial that is delivered; None without any.
        now: Seconds since the start of the run.
    """
    trials, plain = ladder.records, ladder.baseline()
    if model is None or plain is None or plan.facts.folds or model.request.larger > 1:
        return None
    again = next(waiting(trials, Purpose.EVIDENCE), None)
    length = again.request.budget if again else length_of(model)
    run = Run.of(again) if again else missing(trials, model, plain.request.recipe)
    ends = Used.of(plan.budget, ladder, now).after(plan.budget.share(Cost(length)))
    free = _room(plan, model.request.devices, trials.running())
    if run is None or not free or ends + plan.budget.share(plan.kept) > 1:
        return None
    return going_on(evidence_request(plan, length, len(trials), run, model.request), again)


def awaited(trials: Trials, first: int) -> bool:
    """Return whether what is trained beside the final training is waited for: that has ended without a model.

    Args:
        trials: All trials of the run.
        first: Number of the first trial that counts.
    """
    finals = _finals(trials, first)
    if not finals or finals[-1].running:
        return True
    goes_on = next(waiting(trials, Purpose.FINAL), None) or rescuable(trials, first=first)
    return not goes_on and not any(record.final for record in finals)


def useless(trials: Trials, first: int) -> list[TrialRecord]:
    """Return the evidence that is being trained beside a final training that has ended without a model."""
    finals = _finals(trials, first)
    if not finals or any(record.running or record.final for record in finals):
        return []
    return [record for record in trials.running() if record.purpose is Purpose.EVIDENCE]


def over_at(plan: Plan) -> float:
    """Return the seconds into the run at which the last training has to be over; infinity for no limit.

    One that waits for a lost node, or takes longer than it should on a busy one, is not waited for.
    """
    seconds = plan.budget.seconds
    return seconds - plan.kept.seconds + GRACE * plan.reserve if seconds else math.inf


def _as_large(found: Iterable[Candidate], trials: Trials, times: int, facts: TaskFacts) -> Iterator[Candidate]:
    """Yield candidates with batches so many times as large, as far as they can be; plain stays plain."""
    if times == 1:
        yield from found
        return
    known = {*PLAIN.values(), *(one.request.recipe for one in trials if one.request.larger > 1)}
    for one in found:
        recipe = None if one.recipe in known else with_larger_batches(one.recipe, times, facts)
        if recipe is not None:
            yield Candidate(recipe, larger_origin(one.origin, times))


def _finals(trials: Trials, first: int) -> list[TrialRecord]:
    """Return the final trainings with this budget, those that are tried again too."""
    return [record for record in trials.of(Purpose.FINAL) if record.number >= first]


def _room(plan: Plan, devices: int, running: Sequence[TrialRecord]) -> bool:
    """Return whether a training on so many devices, all of one machine, fits beside those that are running."""
    had = [record.request.devices for record in running]
    most = sum(node // devices for node in plan.nodes or [plan.workers])
    return devices <= plan.workers - sum(had) and sum(count >= devices for count in had) < most
