"""What a result claims: whether the model is better than plain training with the whole budget, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoaccel.core.facts import combined_error
from autoaccel.core.recipe import PLAIN
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import Purpose
from autoaccel.search.base import Expectation

UNKNOWN_NOISE = "; the noise of the validation set is not known"


def whole_data(expected: Expectation | None, delivered: TrialRecord | None) -> dict[str, Any] | None:
    """Return the delivered model and plain training, both with all that the run has spent, as plain data."""
    if expected is None or delivered is None or delivered.final is None:
        return None
    return {
        "final": delivered.final.metric,
        "plain": {"metric": expected.metric, "low": expected.low, "high": expected.high},
        "length": str(expected.budget),
        "measured": expected.measured,
    }


def headline(
    trials: Trials, compared: Mapping[str, Any] | None, delivered: TrialRecord | None, status: str = "complete"
) -> str:
    """Return one line: whether what is delivered is better than plain with the whole budget, and both values.

    Args:
        trials: All trials of the run.
        compared: The comparison as plain data, if there is one.
        delivered: The trial whose model is delivered, if any.
        status: complete, running, interrupted or preempted.
    """
    metric = trials.facts.metric if trials.facts else "metric"
    if compared is None:
        return _uncompared(trials, metric, delivered)
    whole, values = compared.get("whole"), _values(metric, compared)
    if delivered and delivered.request.recipe in PLAIN.values():
        if compared["gain"] <= 0:
            return f"No better than plain: {values}."
        return f"Plain is delivered, although another recipe won the comparison: {values}."
    if whole is None:
        verdict = "Better than plain" if compared["gain"] > 0 else "No better than plain"
        return f"{verdict} in short trainings: {values}; plain's value with the whole budget is not known."
    plain = whole["plain"]
    reached = "reached" if whole["measured"] else "is expected to reach"
    length = "whole budget" if status == "complete" else whole["length"]
    return (
        f"{_verdict(whole, maximize=bool(trials.facts and trials.facts.maximize))}: "
        f"{metric} {whole['final']:.4g} on validation; plain {reached} {plain['metric']:.4g} "
        f"({plain['low']:.4g} to {plain['high']:.4g}) with the same {length}"
        f"{UNKNOWN_NOISE if compared['standard_error'] is None else ''}."
    )


def evidence(metric: str, compared: Mapping[str, Any] | None) -> str:
    """Return the second line, recipe and plain at equal budget; empty if the first one says it."""
    return f"In trials of equal budget: {_values(metric, compared)}." if compared and compared.get("whole") else ""


def optimism(validation: Mapping[str, Any], test: Mapping[str, Any] | None) -> dict[str, float | None] | None:
    """Return how far a model's validation score is above its test score, with the standard error of the difference.

    The best of many on the validation set is a little too good there. None without a test score.
    """
    if test is None or test.get("metric") is None:
        return None
    error = combined_error(validation.get("standard_error"), test.get("standard_error"))
    return {"difference": validation["metric"] - test["metric"], "standard_error": error}


def _verdict(whole: Mapping[str, Any], maximize: bool) -> str:
    low, high = whole["plain"]["low"], whole["plain"]["high"]
    if low <= whole["final"] <= high:
        return "Perhaps no better than plain"
    return "Better than plain" if (whole["final"] > high) == maximize else "Probably worse than plain"


def _values(metric: str, compared: Mapping[str, Any]) -> str:
    ours, plain = compared["winner"]["metric"], compared["plain"]["metric"]
    caveat = _caveat(compared["gain"], compared["standard_error"]) if compared["gain"] > 0 else ""
    return f"{metric} {ours:.4g} against {plain:.4g} with {compared['budget']} each{caveat}"


def _caveat(gain: float, standard_error: float | None) -> str:
    if standard_error is None:
        return UNKNOWN_NOISE
    return ", which is within the noise of the validation set" if gain <= standard_error else ""


def _uncompared(trials: Trials, metric: str, delivered: TrialRecord | None) -> str:
    found = delivered.final if delivered else None
    value = f": {metric} {found.metric:.4g} on the validation set" if found else ""
    origin = delivered.request.origin if delivered else "nothing"
    ended = [(record, record.outcome) for record in trials.of(Purpose.BASELINE) if record.outcome]
    if ended and not any(record.final for record, _ in ended):
        fault = ended[0][1]
        return f"Plain training fails ({fault.kind.value}: {fault.reason}); delivered is {origin}{value}."
    if delivered is None or delivered.request.recipe in PLAIN.values():
        return "The plain recipe was trained: the budget leaves no room to compare it with another."
    return f"The budget leaves no room to compare with plain; delivered is {origin}{value}."
