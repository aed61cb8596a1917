"""Restore the state of a search from the log of an interrupted run."""

from __future__ import annotations

from collections.abc import Sequence

from autoaccel.core.events import Action, Event, Finished, Interrupted, Start
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import Outcome, OutcomeKind, estimated_cost
from autoaccel.errors import StoreError
from autoaccel.search.base import Search
from autoaccel.storage.log import LogEntry


def replay(search: Search, entries: Sequence[LogEntry], ended: float = 0.0) -> tuple[list[Event], list[Action]]:
    """Replay the log of a killed run so that a new search reaches the same state.

    Args:
        search: A new search with the same space, budget and seed.
        entries: The log of the killed run.
        ended: Seconds into the run when it was killed, as far as is known; at least the last entry's.

    Returns:
        Events to handle first, which mark running trials as lost; and starts that were not carried out.

    Raises:
        StoreError: If the search decides differently from the log.
    """
    begun = {entry.request.trial: entry.request for _, entry in entries if isinstance(entry, Start)}
    running = set(begun)
    decided: list[Start] = []
    for now, entry in entries:
        if isinstance(entry, Start | Interrupted):
            continue
        decided += [action for action in search.handle(entry, now) if isinstance(action, Start)]
        if isinstance(entry, Finished):
            running.discard(entry.trial)
    for action in decided:
        logged = begun.get(action.request.trial)
        if logged is not None and logged.recipe != action.request.recipe:
            raise StoreError(f"the log does not replay: trial {logged.trial} had another recipe")
    ended = max([ended, *(now for now, _ in entries)])
    lost = [_lost(search.trials[number], ended) for number in sorted(running)]
    return [*lost], [action for action in decided if action.request.trial not in begun]


def _lost(record: TrialRecord, ended: float) -> Finished:
    cost = estimated_cost(record.request, record.latest, ended - record.started)
    return Finished(record.number, Outcome(OutcomeKind.LOST, cost, reason="the run was killed"))
