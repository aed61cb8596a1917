"""What a run says of itself: the contents of `result.json`, from the state of the search. Pure functions."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from autoaccel.core.budget import Cost
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import OutcomeKind, Purpose, Report
from autoaccel.search.halving import Search
from autoaccel.search.trials import Entry
from autoaccel.storage.records import TrialRecord

SCHEMA = 1
CLEARLY = 1.5
"""By how many standard errors a short trial must be better than the final training to be delivered instead."""


def result_data(search: Search, now: float, status: str) -> dict[str, Any]:
    """The result as plain data, at any moment after the first complete trial.

    Args:
        search: Where it stands.
        now: Wall seconds of the run.
        status: complete, running or interrupted.
    """
    assert search.plan is not None
    facts = search.plan.facts
    delivered, entry = delivery(search)
    compared = comparison(search)
    recipe = entry.request.recipe if entry else Recipe()
    return {
        "schema": SCHEMA,
        "status": status,
        "headline": headline(search, compared),
        "metric": {"name": facts.metric, "direction": "max" if facts.maximize else "min"},
        "comparison": compared,
        "final": _final(search),
        "baseline": _baseline(search),
        "delivered": _delivered(delivered, entry),
        "recipe": recipe.to_data(),
        "spent": spent_by_phase(search, now),
        "budget": search.plan.budget.to_data(),
        "trials": outcomes(search.trials),
        "plan": search.plan.describe(),
    }


def delivery(search: Search) -> tuple[str, Entry | None]:
    """What is delivered: the final training, unless a finished trial is better by more than the noise."""
    final, best = search.trials.final(), search.trials.best()
    reached = final.final if final else None
    if reached is not None and (best is None or not _clearly_better(search, best[1], reached)):
        return "final", final
    if best is None:
        return "nothing", None
    return ("plain" if best[0].request.purpose is Purpose.BASELINE else "trial"), best[0]


def _clearly_better(search: Search, one: Report, other: Report) -> bool:
    # The best of many noisy values is an optimist, so it must win by more than the noise.
    standard_error = math.hypot(one.standard_error, other.standard_error)
    return search.trials.value(one)[0] < search.trials.value(other)[0] - CLEARLY * standard_error


def comparison(search: Search) -> dict[str, Any] | None:
    """The best recipe against plain at the highest rung where both were completed."""
    assert search.plan is not None
    for rung in reversed(range(len(search.plan.ladder))):
        plain, found = search.trials.plain(rung), search.trials.on(rung, baseline=False)
        if plain and found:
            winner = found[0]
            gain = search.trials.value(plain[1])[0] - search.trials.value(winner[1])[0]
            return {
                "budget": str(search.plan.trial_budget(rung)),
                "winner": _scored(*winner),
                "plain": _scored(*plain),
                "gain": gain,
                "standard_error": max(winner[1].standard_error, plain[1].standard_error),
            }
    return None


def headline(search: Search, compared: Mapping[str, Any] | None) -> str:
    """One honest line: by how much the recipe beats plain training at equal budget, or that it does not."""
    assert search.plan is not None
    name = search.plan.facts.metric
    if compared is None:
        return "The plain recipe was trained: the budget leaves no room to compare it with another."
    ours, plain = compared["winner"]["metric"], compared["plain"]["metric"]
    if compared["gain"] <= 0:
        return f"No better than plain: {name} {ours:.4g} against {plain:.4g} with {compared['budget']} each."
    line = f"Better than plain: {name} {ours:.4g} against {plain:.4g} with {compared['budget']} each"
    within = compared["gain"] <= compared["standard_error"]
    return line + (", which is within the noise of the validation set." if within else ".")


def spent_by_phase(search: Search, now: float) -> dict[str, dict[str, float]]:
    """Seconds of trials and FLOPs by phase; the rest of the wall seconds is start-up and report."""
    costs = {purpose: Cost() for purpose in Purpose}
    for entry in search.trials:
        if entry.outcome:
            costs[entry.request.purpose] += entry.outcome.cost
    phases = {p.value: {"seconds": c.seconds, "flops": c.flops} for p, c in costs.items()}
    facts = search.plan.facts if search.plan else None
    measured = (
        {"seconds": facts.profile_seconds, "flops": facts.profile_flops}
        if facts
        else {"seconds": 0.0, "flops": 0.0}
    )
    rest = now - measured["seconds"] - sum(cost.seconds for cost in costs.values())
    return {"profile": measured, **phases, "start-up and report": {"seconds": max(0.0, rest), "flops": 0.0}}


def outcomes(entries: Iterable[Entry]) -> dict[str, int]:
    """Number of trials by outcome."""
    kinds = [entry.outcome.kind.value for entry in entries if entry.outcome]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def leaderboard(records: Iterable[TrialRecord], maximize: bool) -> list[dict[str, Any]]:
    """Complete trials, those with the largest budget first and the best first among them."""
    rows = [_row(record) for record in records if record.complete and record.final]
    sign = -1 if maximize else 1
    return sorted(rows, key=lambda row: (-(row["budget_seconds"] or row["budget_flops"]), sign * row["metric"]))


def failures(records: Iterable[TrialRecord]) -> list[str]:
    """What did not complete, by kind and reason, with the user's line."""
    found: dict[str, int] = {}
    for record in records:
        outcome = record.outcome
        if outcome and outcome.kind not in (OutcomeKind.COMPLETE, OutcomeKind.PRUNED):
            where = f" ({outcome.where})" if outcome.where else ""
            line = f"{outcome.kind.value.replace('_', ' ')}: {outcome.reason}{where}"
            found[line] = found.get(line, 0) + 1
    return [f"{count} x {line}" for line, count in found.items()]


def trials_csv(records: Iterable[TrialRecord]) -> str:
    """All trials as CSV, a column for each parameter."""
    rows = [{**_row(record), **record.request.recipe.flat()} for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(record: TrialRecord) -> dict[str, Any]:
    request, outcome, final = record.request, record.outcome, record.final
    return {
        "trial": request.trial,
        "purpose": request.purpose.value,
        "origin": request.origin,
        "outcome": outcome.kind.value if outcome else "unfinished",
        "metric": final.metric if final else None,
        "loss": final.loss if final else None,
        "standard_error": final.standard_error if final else None,
        "budget": str(request.budget),
        "budget_seconds": request.budget.seconds,
        "budget_flops": request.budget.flops,
        "seconds": outcome.cost.seconds if outcome else None,
        "flops": outcome.cost.flops if outcome else None,
        "steps": outcome.cost.steps if outcome else None,
        "reason": outcome.reason if outcome else None,
    }


def _scored(entry: Entry, report: Report) -> dict[str, Any]:
    return {"trial": entry.request.trial, "origin": entry.request.origin, "metric": report.metric,
            "loss": report.loss, "standard_error": report.standard_error}  # fmt: skip


def _delivered(what: str, entry: Entry | None) -> dict[str, Any]:
    if entry is None or entry.final is None:
        return {"what": what, "trial": None}
    test = dict(entry.outcome.test) if entry.outcome else {}
    return {"what": what, "budget": str(entry.request.budget), **_scored(entry, entry.final), "test": test or None}


def _baseline(search: Search) -> dict[str, Any] | None:
    assert search.plan is not None
    for rung in reversed(range(len(search.plan.ladder))):
        if plain := search.trials.plain(rung):
            return {**_scored(*plain), "budget": str(search.plan.trial_budget(rung))}
    return None


def _final(search: Search) -> dict[str, Any] | None:
    entry = search.trials.final()
    if entry is None or entry.outcome is None or entry.final is None:
        return None
    return {
        "trial": entry.request.trial,
        "origin": entry.request.origin,
        "budget": str(entry.request.budget),
        "validation": {
            "metric": entry.final.metric,
            "loss": entry.final.loss,
            "standard_error": entry.final.standard_error,
        },
        "test": dict(entry.outcome.test) or None,
        "cost": asdict(entry.outcome.cost),
        "reason": entry.outcome.reason,
    }
