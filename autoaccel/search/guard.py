"""How far up the ladder plain is trained: as far as the best recipe, which is compared with it."""

from __future__ import annotations

from autoaccel.core.records import TrialRecord
from autoaccel.search.requests import Next, longer
from autoaccel.search.trials import LadderTrials
from autoaccel.search.usage import Room

GUARD = 0.1
"""Largest share of the budget that plain training may take to be compared with the best recipe on a rung."""


def guard(room: Room) -> Next | None:
    """Return a trial of plain training on the highest rung on which a recipe has to be compared with it."""
    ladder = room.ladder
    plain, best = ladder.baseline(), next(iter(ladder.ranked(baseline=False)), None)
    if plain is None or best is None:
        return None
    # Above the top are trials from before longer ones were found to be of no use.
    rung, below = min(ladder.rung(best), room.plan.top), ladder.rung(plain)
    costly = rung <= below or room.plan.cost_to(rung, below) > GUARD
    if costly or not _may_follow(ladder, plain, rung) or not room.fits(rung, plain):
        return None
    return longer(ladder, plain, rung)


def plain_first(ladder: LadderTrials, rung: int) -> Next | None:
    """Return a trial of plain training on the rung on which a new recipe starts, if it has yet to get there."""
    plain = ladder.baseline()
    if plain is None or ladder.rung(plain) >= rung or not _may_follow(ladder, plain, rung):
        return None
    return longer(ladder, plain, rung)


def _may_follow(ladder: LadderTrials, plain: TrialRecord, rung: int) -> bool:
    """Return whether plain may go up to a rung: not while one is running, and not if it failed there."""
    waits = any(record.running for record in ladder.baselines())
    return not waits and plain.request.recipe not in ladder.recipes_on(rung)
