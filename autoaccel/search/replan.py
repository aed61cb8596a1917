"""What makes the plan another one: training costs something else than the profile said, or longer is no better.

The profile measures a few steps, perhaps while the machine is busy, and a trial thousands.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import REPRODUCIBLE, Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.errors import UsageError
from autoaccel.search.plan import Plan, make_plan
from autoaccel.search.trials import LadderTrials

CLEARLY = 2.0
"""Factor between what was measured and what a trial cost from which the plan is made again."""
FEWEST_GAINS = 3
"""Promotions from one rung that show whether longer trainings are better."""


def plan_again(plan: Plan, trials: Trials, record: TrialRecord, now: float, longest: Budget | None = None) -> Plan:
    """Return the plan that the cost of a trial suggests: the same one if it cost about what was expected.

    Only the first, plain trials are asked, and a plan is made again once.

    Args:
        plan: The current plan.
        trials: All trials of the run.
        record: A trial that has ended.
        now: Seconds since the start of the run.
        longest: See `make_plan`.
    """
    # On a busy machine two short trials may contradict each other, and the later one is the shorter.
    if record.number >= len(PLAIN) or not record.final or plan.again:
        return plan
    ratio = _ratios(plan.facts, record)
    wrong = {name: factor for name, factor in ratio.items() if not 1 / CLEARLY <= factor <= CLEARLY}
    if plan.budget.deterministic or not wrong:  # what a machine's speed cannot change is exact
        return plan
    facts = _corrected(plan.facts, record, wrong)
    factors = ", ".join(f"{factor:.2g} times the {name}" for name, factor in wrong.items())
    line = f"planned again: plain training takes {factors} that the profile measured"
    try:
        made = make_plan(plan.budget, facts, trials.run_cost(now), plan.workers, plan.reserve, longest, plan.gpus)
    except UsageError:  # too little is left for a search; the final training gets it
        made = replace(plan, facts=facts, ladder=(), search_share=0.0)
    if len(made.ladder) == len(plan.ladder):
        made = replace(plan, facts=facts)  # a few percent less per rung are not worth new baselines
    return replace(made, nodes=plan.nodes, alone=plan.alone, again=line)


def plateau(trials: LadderTrials) -> int | None:
    """Return the rung from which longer trainings are no longer better, if there is one.

    That is the lowest one from which at least `FEWEST_GAINS` recipes were promoted and typically gained less than
    the standard error of the metric.
    """
    gains: dict[int, list[float]] = {}
    for record in trials.records:
        parent = trials.records.get(record.request.parent)
        if trials.rung(record) < 1 or not (parent and parent.final and record.final):
            continue  # not on this ladder
        if (error := record.final.standard_error) is not None:
            gain = trials.score(parent)[0] - trials.score(record)[0] - error
            gains.setdefault(trials.rung(record), []).append(gain)
    flat = [rung for rung, found in gains.items() if len(found) >= FEWEST_GAINS and median(found) < 0]
    return min(flat) - 1 if flat else None


def _ratios(facts: TaskFacts, record: TrialRecord) -> dict[str, float]:
    """Return by how much training cost more than the facts say, for each quantity that depends on the machine."""
    assert record.outcome is not None
    cost, evaluation = record.outcome.cost, facts.evaluation_cost(record.request.valid_samples)
    expected = facts.train * cost.samples + evaluation * len(record.reports)
    spent = cost.replace(seconds=cost.seconds - record.outcome.first_step)
    names = facts.train.keys() - REPRODUCIBLE if cost.samples else set()
    return {name: spent[name] / expected[name] for name in sorted(names) if expected[name] > 0 and spent[name] > 0}


def _corrected(facts: TaskFacts, record: TrialRecord, factors: dict[str, float]) -> TaskFacts:
    def scaled(cost: Cost) -> Cost:
        return Cost({name: amount * factors.get(name, 1.0) for name, amount in cost.items()})

    assert record.outcome is not None
    first_step = record.outcome.first_step or facts.setup.seconds
    setup = facts.setup.replace(seconds=first_step)
    return replace(facts, train=scaled(facts.train), evaluation=scaled(facts.evaluation), setup=setup)
