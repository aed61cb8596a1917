"""Which recipes the final training may use, the most promising one first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import Purpose
from autoaccel.search.base import Proposal
from autoaccel.search.trials import AT_FAULT, LadderTrials


@dataclass(frozen=True)
class Candidate:
    """A recipe for the final training.

    Args:
        recipe: The recipe.
        origin: Its source, for display.
        parent: Number of its best trial, if it has one.
    """

    recipe: Recipe
    origin: str
    parent: int | None = None

    @classmethod
    def of(cls, record: TrialRecord) -> Candidate:
        """Return the recipe of a trial; its best one is the trial itself, or what led to a final one."""
        request = record.request
        return cls(
            request.recipe, request.origin, request.parent if record.purpose is Purpose.FINAL else record.number
        )


def recommended(portfolio: Sequence[Proposal]) -> list[Candidate]:
    """Return what to train without any result of a search: the portfolio, with plain as the second choice."""
    found = [Candidate(proposal.recipe, proposal.origin) for proposal in portfolio]
    return [*found[:1], Candidate(PLAIN["plain"], "plain"), *found[1:]]


def candidates(
    trials: LadderTrials, portfolio: Sequence[Proposal], trusted: Sequence[Recipe]
) -> Iterator[Candidate]:
    """Yield the recipes for the final training that have not failed, nor had their chance in one.

    Args:
        trials: The trials so far.
        portfolio: The recipes that the space recommends for the task, best first.
        trusted: The recipes that were tried, best first; empty without a search.
    """
    unfit = {record.request.recipe for record in (*filter(_fails, trials.records), *trials.finals())}
    longest = trials.longest()
    tried = [longest[recipe] for recipe in trusted if recipe in longest]
    found = [Candidate.of(record) for record in tried]
    # An untried recipe trains the model as it is, which may be known to be too slow or too large.
    untried = [] if trials.limits.plain_spoiled else recommended(portfolio)
    for candidate in [*found, *untried]:
        if candidate.recipe not in unfit and trials.limits.allowed(candidate.recipe):
            yield candidate
    # Where nothing keeps the constraints, what breaks them least is better than nothing.
    if (safest := trials.limits.safest()) and safest.request.recipe not in unfit:
        yield Candidate.of(safest)


def _fails(record: TrialRecord) -> bool:
    """Return whether a trial's recipe is at fault, and not how many processes it was measured in."""
    at_fault = record.outcome is not None and record.outcome.kind in AT_FAULT
    return at_fault and record.purpose is not Purpose.PACE
