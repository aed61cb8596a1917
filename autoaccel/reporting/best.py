"""The best trial so far against plain, at equal budget."""

from __future__ import annotations

from collections.abc import Sequence

from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import Purpose

AFTER = (Purpose.FINAL, Purpose.EVIDENCE)
"""What follows the search and has no plain trial beside it."""


def best_line(trials: Trials) -> str:
    """Return the best trial and the best plain one in one line; empty before there is a complete trial.

    As in the comparison of a result, at the largest budget that both plain and another recipe had.
    """
    search = [record for record in trials if record.final and record.purpose not in AFTER]
    if not search or trials.facts is None:
        return ""
    plain_had = {record.request.budget.size for record in search if record.purpose is Purpose.BASELINE}
    others_had = {record.request.budget.size for record in search if record.purpose is not Purpose.BASELINE}
    top = max(plain_had & others_had or plain_had | others_had)
    level = [record for record in search if record.request.budget.size == top]
    plain = [record for record in level if record.purpose is Purpose.BASELINE]
    best = _first(level, trials.facts.maximize)
    against = f", plain {_metric(_first(plain, trials.facts.maximize)):.4g}" if plain else ""
    return f"best {trials.facts.metric} {_metric(best):.4g}{against}, with {best.request.budget} each"


def _first(records: Sequence[TrialRecord], maximize: bool) -> TrialRecord:
    return (max if maximize else min)(records, key=_metric)


def _metric(record: TrialRecord) -> float:
    assert record.final is not None
    return record.final.metric
