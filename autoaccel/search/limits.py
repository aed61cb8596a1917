"""Which recipes keep the constraints of a goal, and which trial has reached its target.

Latency, size and memory belong to a recipe, and longer training changes none of them. Other processes only make
a forward slower, so a recipe's latency is the least that was measured of it. A metric belongs to a trial, since it
grows with training; of a recipe counts that of its latest trial.
"""

from __future__ import annotations

from collections.abc import Iterable

from autoaccel.core.facts import TaskFacts
from autoaccel.core.goal import FOOTPRINT, Constraint, Goal
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import Report, TrialRequest


class Limits:
    """What the complete trials have shown of the constraints.

    Args:
        goal: The goal of the run.
        facts: The facts of the task.
        records: Trials that have ended.

    Attributes:
        goal: The goal of the run.
        facts: The facts of the task.
    """

    def __init__(self, goal: Goal, facts: TaskFacts, records: Iterable[TrialRecord] = ()):
        self.goal = goal
        self.facts = facts
        self._least: dict[Recipe, dict[str, float]] = {}
        self._latest: dict[Recipe, TrialRecord] = {}
        self._complete: list[TrialRecord] = []
        for record in records:
            self.note(record)

    def note(self, record: TrialRecord) -> None:
        """Learn what a trial that has ended shows."""
        if record.final is None or record.outcome is None or not self.goal:
            return
        self._complete.append(record)
        recipe, measured = record.request.recipe, record.outcome.measured
        least = self._least.setdefault(recipe, {})
        least.update({name: min(measured[name], least.get(name, measured[name])) for name in measured})
        self._latest[recipe] = record

    def value(self, record: TrialRecord, quantity: str) -> float | None:
        """Return what counts for a complete trial: of its recipe's latency, size and memory, the least measured."""
        assert record.outcome is not None
        own = record.outcome.measured.get(quantity)
        return self.least(record.request.recipe, quantity) if quantity in FOOTPRINT else own

    def least(self, recipe: Recipe, quantity: str) -> float | None:
        """Return the least that was measured of a recipe; None if nothing was."""
        return self._least.get(recipe, {}).get(quantity)

    def broken(self, record: TrialRecord) -> list[Constraint]:
        """Return the constraints that a complete trial breaks; one that was not measured counts as broken."""
        return [each for each in self.goal.constraints if each.excess(self.value(record, each.quantity)) > 0]

    def excess(self, record: TrialRecord) -> float:
        """Return by how much a complete trial breaks the constraints, in shares of their limits; 0 for none."""
        return sum(each.excess(self.value(record, each.quantity)) for each in self.goal.constraints)

    def keeps(self, recipe: Recipe) -> bool:
        """Return whether a recipe is known to keep the constraints, of which there may be none."""
        latest = self._latest.get(recipe)
        return not self.goal.constraints or (latest is not None and not self.broken(latest))

    def spoiled(self, recipe: Recipe) -> bool:
        """Return whether a recipe is known to be too slow or too large, whatever it is trained for."""
        latest = self._latest.get(recipe)
        return latest is not None and any(each.quantity in FOOTPRINT for each in self.broken(latest))

    @property
    def plain_spoiled(self) -> bool:
        """Whether the model as it is is too slow or too large, so that untried recipes of a portfolio are too."""
        return all(map(self.spoiled, PLAIN.values()))

    def allowed(self, recipe: Recipe) -> bool:
        """Return whether a recipe may be trusted: it is not spoiled, and keeps the rest if any recipe does."""
        if not self.goal.constraints or recipe not in self._latest:
            return True
        return self.keeps(recipe) or not (self.spoiled(recipe) or any(map(self.keeps, self._latest)))

    def safest(self) -> TrialRecord | None:
        """Return the complete trial that breaks the constraints least; of several the longest, then the best."""

        def key(record: TrialRecord) -> tuple[float, float, tuple[float, float]]:
            assert record.final is not None
            return self.excess(record), -record.request.budget.size, self.facts.score(record.final)

        return min(self._complete, key=key, default=None)

    def reaches(self, record: TrialRecord) -> bool:
        """Return whether a complete trial has reached the target for sure, and keeps the constraints."""
        target, final = self.goal.target, record.final
        sure = target and final and target.reached(final, self.facts.maximize, self._samples(record.request))
        return bool(sure) and not self.broken(record)

    def reaching(self) -> TrialRecord | None:
        """Return the first trial that has reached the target."""
        return next(filter(self.reaches, self._complete), None)

    def may_end(self, request: TrialRequest, report: Report) -> bool:
        """Return whether a training that has reported needs no more: the target is reached beyond a known noise."""
        target, samples = self.goal.target, self._samples(request)
        if target is None or report.standard_error is None or not self.keeps(request.recipe):
            return False
        return target.reached(report, self.facts.maximize, samples)

    def _samples(self, request: TrialRequest) -> int:
        return request.valid_samples or self.facts.n_valid
