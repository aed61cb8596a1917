"""The contents of `result.json` and `trials.csv`, as pure functions of a run's values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.goal import Goal
from autoaccel.core.quantities import COUNTS, Cost
from autoaccel.core.recipe import Recipe
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Report
from autoaccel.search.base import Comparison, Search
from autoaccel.search.delivery import delivered
from autoaccel.search.limits import Limits
from autoaccel.tuner.claim import evidence, headline, optimism, whole_data
from autoaccel.tuner.evidence import parts_data, seeds_data
from autoaccel.tuner.goals import goal_data, goal_lines

SCHEMA = 2
KINDS = {
    Purpose.FINAL: "final",
    Purpose.BASELINE: "plain",
    Purpose.SEARCH: "trial",
    Purpose.EVIDENCE: "trial",
    Purpose.PACE: "trial",
}
"""What is delivered, in a word."""


def result_data(
    search: Search,
    budget: Budget,
    now: float,
    status: str,
    goal: Goal = Goal(),  # noqa: B008 - a frozen value
) -> dict[str, Any]:
    """Return the result as plain data, at any time after the profile.

    Args:
        search: The search.
        budget: The budget of the run.
        now: Wall-clock seconds since the start of the run.
        status: complete, running, interrupted or preempted.
        goal: What the run is after besides the best metric.
    """
    facts = search.trials.facts
    assert facts is not None
    kind, record = delivery(search, goal)
    compared = comparison(search.comparison(), facts)
    if compared is not None:
        compared["whole"] = whole_data(search.plain_at_full_length(), record)
    recipe = record.request.recipe if record else Recipe()
    baseline = search.baseline()
    asked = goal_data(search, goal, budget, record)
    first, second = headline(search.trials, compared, record, status), evidence(facts.metric, compared)
    if lines := goal_lines(asked, facts.metric):
        # Without a comparison the first line says why there is none: here the target came before.
        early = compared is None and asked.get("aim", {}).get("reached")
        first, second = " ".join(lines), "" if early else " ".join(filter(None, (first, second)))
    return {
        "schema": SCHEMA,
        "status": status,
        "headline": first,
        "evidence": second,
        **asked,
        **({"classes": list(facts.names)} if facts.names else {}),
        "metric": {"name": facts.metric, "direction": "max" if facts.maximize else "min"},
        "comparison": compared,
        "seeds": seeds_data(search.trials, record, baseline.request.recipe if baseline else None),
        "parts": parts_data(search.trials, record),
        "final": _final(search.final()),
        "baseline": _baseline(baseline),
        "delivered": _delivered(kind, record),
        "recipe": recipe.to_data(),
        "spent": spent_by_phase(search.trials, now),
        "budget": dict(budget),
        "trials": outcomes(search.trials),
        "plan": search.describe(),
    }


def delivery(search: Search, goal: Goal = Goal()) -> tuple[str, TrialRecord | None]:  # noqa: B008 - a frozen value
    """Return what to deliver, in a word and as a trial; see `delivered`."""
    if search.trials.facts is None:
        return "nothing", None
    limits = Limits(goal, search.trials.facts, search.trials)
    record = delivered(search.final(), search.best(), limits)
    return (KINDS[record.purpose] if record else "nothing"), record


def comparison(found: Comparison | None, facts: TaskFacts) -> dict[str, Any] | None:
    """Return the comparison of the best recipe with plain training at equal budget, as plain data."""
    if found is None:
        return None
    winner, plain = found.winner.final, found.plain.final
    assert winner and plain
    return {
        "budget": str(found.budget),
        "winner": _scored(found.winner),
        "plain": _scored(found.plain),
        "gain": facts.score(plain)[0] - facts.score(winner)[0],
        "standard_error": _larger(winner.standard_error, plain.standard_error),
    }


def _larger(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def spent_by_phase(trials: Trials, now: float) -> dict[str, dict[str, float]]:
    """Return the cost of each phase; the remaining wall-clock seconds are start-up and report."""
    profile = trials.facts.profile if trials.facts else Cost()
    phases = {"profile": profile, **{purpose.value: trials.spent(purpose) for purpose in Purpose}}
    rest = now - sum(cost.seconds for cost in phases.values())
    return {
        **{name: {"seconds": 0.0, "flops": 0.0, **cost} for name, cost in phases.items()},
        "start-up and report": {"seconds": max(0.0, rest), "flops": 0.0},
    }


def outcomes(records: Iterable[TrialRecord]) -> dict[str, int]:
    """Return the number of trials by outcome, without measurements, which train no model."""
    trials = (record for record in records if record.purpose is not Purpose.PACE)
    kinds = [record.outcome.kind.value for record in trials if record.outcome]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def leaderboard(records: Iterable[TrialRecord], maximize: bool) -> list[dict[str, Any]]:
    """Return the complete trials, ordered by budget (largest first), then best first."""
    sign = -1 if maximize else 1
    found = [(record, record.final) for record in records if record.complete and record.final]
    ranked = sorted(found, key=lambda pair: (-pair[0].request.budget.size, sign * pair[1].metric))
    return [_row(record) for record, _ in ranked]


def failures(records: Iterable[TrialRecord]) -> list[str]:
    """List failed trials by kind and reason, with counts and the lines in the user's code."""
    found: dict[str, int] = {}
    for record in records:
        outcome = record.outcome if record.purpose is not Purpose.PACE else None
        if outcome and outcome.kind not in (OutcomeKind.COMPLETE, OutcomeKind.PRUNED):
            where = f" ({outcome.where})" if outcome.where else ""
            line = f"{record.state}: {outcome.reason}{where}"
            found[line] = found.get(line, 0) + 1
    return [f"{count} x {line}" for line, count in found.items()]


def trials_csv(records: Iterable[TrialRecord]) -> str:
    """Return all trials as CSV, with a column for each parameter."""
    rows = [{**_row(record), **record.request.recipe.flat()} for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(record: TrialRecord) -> dict[str, Any]:
    request, outcome, final = record.request, record.outcome, record.final
    cost = outcome.cost if outcome else Cost()
    budgets = dict.fromkeys(("seconds", "flops", *request.budget))
    costs = dict.fromkeys(("seconds", "flops", "steps", *cost))
    row = {
        "trial": request.trial,
        "purpose": request.purpose.value,
        "origin": request.origin,
        "outcome": outcome.kind.value if outcome else "unfinished",
        **(score_data(final) if final else dict.fromkeys(("metric", "loss", "standard_error"))),
        "budget": str(request.budget),
        **{f"budget_{name}": request.budget.get(name) for name in budgets},
        **{name: _amount(name, cost) if outcome else None for name in costs},
        "reason": outcome.reason if outcome else None,
    }
    return (dict(outcome.measured) if outcome else {}) | row  # a metric may be called as a column is


def _amount(name: str, cost: Cost) -> float:
    return round(cost[name]) if name in COUNTS else cost[name]


def score_data(report: Report) -> dict[str, float | None]:
    """Return a report's metric, loss and standard error as plain data."""
    return {"metric": report.metric, "loss": report.loss, "standard_error": report.standard_error}


def outcome_data(budget: Budget, outcome: Outcome, final: Report) -> dict[str, Any]:
    """Return how a complete training ended, as plain data: its budget, scores and cost.

    Validation and test are scores of the delivered weights, which are those at `progress`; `kept` says why, where
    they are not the last ones.
    """
    return {
        "budget": str(budget),
        "validation": score_data(final),
        "test": dict(outcome.test) or None,
        "untested": outcome.untested,
        "cost": dict(outcome.cost),
        "reason": outcome.reason,
        "progress": final.progress,
        "kept": {"why": outcome.kept, "last": score_data(outcome.last)} if outcome.last else None,
    }


def _scored(record: TrialRecord) -> dict[str, Any]:
    assert record.final is not None
    return {"trial": record.number, "origin": record.request.origin, **score_data(record.final)}


def _delivered(what: str, record: TrialRecord | None) -> dict[str, Any]:
    if record is None or record.outcome is None:
        return {"what": what, "trial": None}
    scored, test = _scored(record), dict(record.outcome.test) or None
    budget = str(record.request.budget)
    return {"what": what, "budget": budget, **scored, "test": test, "optimism": optimism(scored, test)}


def _baseline(record: TrialRecord | None) -> dict[str, Any] | None:
    return {**_scored(record), "budget": str(record.request.budget)} if record else None


def _final(record: TrialRecord | None) -> dict[str, Any] | None:
    if record is None or record.outcome is None or record.final is None:
        return None
    ended = outcome_data(record.request.budget, record.outcome, record.final)
    return {"trial": record.number, "origin": record.request.origin, **ended}


def why_nothing(search: Search) -> str:
    """Return why a run has no result, as one line."""
    trained = (record for record in search.trials if record.purpose is not Purpose.PACE)
    failed = [record for record in trained if record.outcome and record.outcome.reason and not record.complete]
    if not failed:
        return "the budget ended before one trial was completed"
    outcome = failed[0].outcome
    assert outcome is not None
    where = f" ({outcome.where})" if outcome.where else ""
    return f"no trial was completed; the first one was {outcome.kind.value}: {outcome.reason}{where}"
