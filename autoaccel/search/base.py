"""The interfaces of searches and samplers, which the rest of the package relies on.

A search decides what to train. It does no I/O: it takes events and the time and returns actions. So the same search
works with real processes and with a table of results under a simulated clock, and a resumed run can replay its log.
A sampler proposes recipes to a search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from autoaccel.core.budget import Budget
from autoaccel.core.events import Action, Event
from autoaccel.core.goal import Goal
from autoaccel.core.recipe import Recipe
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.core.trial import Outcome
from autoaccel.spaces.space import SearchSpace


@dataclass(frozen=True)
class Comparison:
    """The comparison that a run reports: two trials with the same budget.

    Args:
        budget: The budget of each.
        winner: The trial of the best recipe.
        plain: The trial of the better plain recipe.
    """

    budget: Budget
    winner: TrialRecord
    plain: TrialRecord


@dataclass(frozen=True)
class Expectation:
    """What plain training would reach with all that a run has spent since it was set up, in the metric's units.

    Args:
        budget: What it would have had.
        metric: Its expected metric.
        low: The lower end of an interval of about 95 %, which covers what is not known of longer trainings, the
            noise of a training, and that of the validation set where it is known.
        high: The upper end.
        measured: Whether a plain trial was as long.
    """

    budget: Budget
    metric: float
    low: float
    high: float
    measured: bool = False


class Decisions(Protocol):
    """Decides what happens next."""

    @property
    def trials(self) -> Trials:
        """All trials so far."""
        ...

    def handle(self, event: Event, now: float) -> list[Action]:
        """Handle an event and return the actions to take.

        The same events in the same order and at the same times give the same actions.

        Args:
            event: What happened; `Profiled` comes first.
            now: Seconds since the start of the run.

        Raises:
            UsageError: If the profile shows that the budget is too small.
        """
        ...


class Search(Decisions, Protocol):
    """Decides what to train."""

    @property
    def failure(self) -> Outcome | None:
        """The outcome of plain training if it raised an error; the search then tries nothing else."""
        ...

    def best(self) -> TrialRecord | None:
        """Return the best complete trial of the search, which is a plain one if nothing beats it."""
        ...

    def final(self) -> TrialRecord | None:
        """Return the final training if it is complete."""
        ...

    def baseline(self) -> TrialRecord | None:
        """Return the complete plain trial with the largest budget."""
        ...

    def kept(self) -> Set[int]:
        """Return the numbers of the trials whose weights are kept; only these may be best, now and later."""
        ...

    def comparison(self) -> Comparison | None:
        """Return the current comparison, or None while there is nothing to compare."""
        ...

    def plain_at_full_length(self) -> Expectation | None:
        """Return what plain training is expected to reach with what the run has spent; None without evidence."""
        ...

    def describe(self) -> list[str]:
        """Return the plan for display, one decision per line; empty before the profile."""
        ...


@dataclass(frozen=True)
class SearchSettings:
    """The arguments of a search.

    Args:
        space: The recipes that may be proposed.
        budget: The budget of the run.
        seed: Seed of all random choices.
        reserve: Seconds to reserve for the report and the last files.
        sampler: The source of recipes, see `samplers.find_sampler`; if None, the search chooses.
        known: Recipes of earlier runs to try early, the most promising first.
        longest: The longest useful training of one model, such as `Budget(epochs=50)`; None if unknown.
        goal: What the run is after besides the best metric.
    """

    space: SearchSpace
    budget: Budget
    seed: int = 0
    reserve: float = 1.5
    sampler: object | None = None
    known: tuple[Proposal, ...] = ()
    longest: Budget | None = None
    goal: Goal = Goal()  # noqa: RUF009 - a frozen value


@dataclass(frozen=True)
class Proposal:
    """A recipe to try, and its origin.

    Args:
        recipe: The recipe.
        origin: The source of the recipe, for display.
        number: The sampler's own number for it, if any.
        promised: What the search promised of it, if the sampler chose it for that; see `Promise`.
    """

    recipe: Recipe
    origin: str
    number: int | None = None
    promised: float | None = None


Promise = Callable[[Sequence[Recipe]], Sequence[float]]
"""From recipes to the logarithms of their expected improvements over the best one, at the final's length."""


@dataclass(frozen=True)
class Findings:
    """What a search has found so far, for a sampler to build on.

    Args:
        best: The most promising recipes, best first.
        reference: Whether there is a finished model that a recipe may learn from.
        promise: What the search expects of a recipe; None before there are results.
        spoiled: Whether recipes for plain's model serve no purpose: it is too slow or too large, or has its place
            in the front.
    """

    best: Sequence[Recipe] = ()
    reference: bool = False
    promise: Promise | None = None
    spoiled: bool = False


class Sampler(Protocol):
    """Proposes recipes and learns from their results."""

    def propose(self, findings: Findings) -> Proposal | None:
        """Return a recipe that was not proposed before, or None if the space seems exhausted."""
        ...

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """Learn the result of a proposal.

        Args:
            proposal: The proposal that was tried.
            value: Smaller is better, comparable across budgets; None if the recipe is infeasible or failed.
        """
        ...
