"""Restore the state of a search from the log of an interrupted run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoaccel.core.events import Event, Finished, Interrupted, Start
from autoaccel.core.quantities import Cost
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import Outcome, OutcomeKind, estimated_cost
from autoaccel.errors import StoreError
from autoaccel.search.base import Decisions
from autoaccel.storage.log import LogEntry


def replay(
    search: Decisions,
    entries: Sequence[LogEntry],
    ended: float = 0.0,
    saved: Callable[[int], Cost] = lambda _: Cost(),
) -> tuple[list[Event], list[Start]]:
    """Replay the log of a killed run so that a new search reaches the same state.

    Args:
        search: A new search with the same space, budget and seed.
        entries: The log of the killed run.
        ended: Seconds into the run when it was killed, as far as is known; at least the last entry's.
        saved: Returns what a trial had spent at its last checkpoint; empty if there is none.

    Returns:
        Events to handle first, which mark trials that were running as preempted, and those that were to be started;
        and the starts of the latter, which are not in the log. They are not carried out, since their budgets are
        those of the moment at which they were decided on: the search decides again.

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
    killed = [_killed(search.trials[number], ended, saved(number)) for number in sorted(running)]
    waiting = [action for action in decided if action.request.trial not in begun]
    never = Outcome(OutcomeKind.PREEMPTED, reason="the run was killed before it started")
    return [*killed, *(Finished(start.request.trial, never) for start in waiting)], waiting


def _killed(record: TrialRecord, ended: float, saved: Cost) -> Finished:
    cost = estimated_cost(record.request, record.latest, ended - record.started, saved)
    return Finished(record.number, Outcome(OutcomeKind.PREEMPTED, cost, reason="the run was killed", saved=saved))
