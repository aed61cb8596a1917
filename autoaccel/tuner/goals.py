"""What a run says of its goal: the target, the constraints and the front, as plain data and in the first line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.goal import LATENCY, QUALITY, Goal
from autoaccel.core.records import TrialRecord
from autoaccel.reporting.memory import short
from autoaccel.search.base import Search
from autoaccel.search.front import front
from autoaccel.search.limits import Limits
from autoaccel.search.outlook import TARGET


def goal_data(search: Search, goal: Goal, budget: Budget, delivered: TrialRecord | None) -> dict[str, Any]:
    """Return the parts of `result.json` that a goal asks for: `aim` (the target), `constraints`, `front`.

    Args:
        search: The search.
        goal: What the run is after besides the best metric.
        budget: The budget of the run.
        delivered: The trial whose model is delivered, if any.
    """
    facts = search.trials.facts
    if not goal or facts is None:
        return {}
    limits = Limits(goal, facts, search.trials)
    data: dict[str, Any] = {}
    if goal.target is not None:
        data["aim"] = _target(search, goal, limits, delivered)
    if goal.constraints:
        data["constraints"] = _constraints(limits, delivered)
    if goal.second:
        data["front"] = [_member(record, goal, budget) for record in front_of(search, goal, budget)]
        data["objective"] = [QUALITY, goal.axis(budget)]
    return data


def front_of(search: Search, goal: Goal, budget: Budget) -> list[TrialRecord]:
    """Return the trials of the front that keep the constraints; empty without a second objective."""
    facts = search.trials.facts
    if facts is None or not goal.second:
        return []
    limits = Limits(goal, facts, search.trials)
    kept = (record for record in search.trials if record.final and not limits.broken(record))
    return front(kept, goal, budget, facts)


def needed(search: Search, goal: Goal, budget: Budget) -> set[int]:
    """Return the numbers of the trials whose weights a goal needs, now or if later trials break a constraint."""
    facts = search.trials.facts
    if not goal or facts is None:
        return set()
    limits = Limits(goal, facts, search.trials)
    chosen = (*front_of(search, goal, budget), limits.safest(), limits.reaching())
    return {record.number for record in chosen if record}


def goal_lines(data: Mapping[str, Any], metric: str) -> list[str]:
    """Return what comes before all else: constraints that are broken, and the target.

    Args:
        data: What `goal_data` returned.
        metric: The name of the metric.
    """
    lines = []
    if broken := [each for each in data.get("constraints", []) if not each["kept"]]:
        values = ", ".join(f"{each['constraint']} (it is {_shown(each['value'])})" for each in broken)
        lines.append(f"NO MODEL KEEPS THE CONSTRAINTS: the delivered one breaks {values}.")
    target = data.get("aim")
    if target:
        asked = f"target {metric} {target['value']:g}"
        if target["reached"]:
            noise = "; its noise is not known" if target["standard_error"] is None else " beyond the noise"
            lines.append(f"Target reached{noise}: {metric} {target['found']:.4g} on validation, {asked}.")
        else:
            found = (
                "nothing was trained"
                if target["found"] is None
                else f"{metric} {target['found']:.4g} on validation"
            )
            lines.append(f"Target not reached for sure: {found}, {asked}.")
    return lines


def _target(search: Search, goal: Goal, limits: Limits, delivered: TrialRecord | None) -> dict[str, Any]:
    assert goal.target is not None
    found = delivered.final if delivered else None
    return {
        "metric": goal.target.metric,
        "value": goal.target.value,
        "reached": delivered is not None and limits.reaches(delivered),
        "found": found.metric if found else None,
        "standard_error": found.standard_error if found else None,
        "outlook": next((line for line in search.describe() if line.startswith(TARGET)), None),
    }


def _constraints(limits: Limits, delivered: TrialRecord | None) -> list[dict[str, Any]]:
    if delivered is None or delivered.outcome is None:
        return []
    broken = limits.broken(delivered)
    return [
        {
            "constraint": str(each),
            "quantity": each.quantity,
            "limit": each.limit,
            "value": limits.value(delivered, each.quantity),
            # Other processes make a forward slower: of one recipe's trials the least counts.
            "measured": delivered.outcome.measured.get(each.quantity),
            "kept": each not in broken,
        }
        for each in limits.goal.constraints
    ]


def _member(record: TrialRecord, goal: Goal, budget: Budget) -> dict[str, Any]:
    assert record.final is not None and record.outcome is not None
    return {
        "trial": record.number,
        "origin": record.request.origin,
        "budget": str(record.request.budget),
        "metric": record.final.metric,
        "standard_error": record.final.standard_error,
        goal.axis(budget): goal.second_of(record.outcome, budget),
        "summary": short(record.request.recipe),
        "recipe": record.request.recipe.to_data(),
    }


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def told(goal: Goal, facts: TaskFacts) -> list[str]:
    """Return what to tell of a goal before the run, one line each."""
    lines = [f"target: the run ends early at {goal.target}"] if goal.target else []
    if goal.constraints:
        noisy = "; of a recipe's latencies the least counts" if LATENCY in goal.measures else ""
        lines.append(f"constraints: {', '.join(map(str, goal.constraints))}{noisy}")
    if goal.second:
        lines.append(f"front: {facts.metric} and {goal.second}")
    return lines
