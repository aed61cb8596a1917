"""Export the trials of a run as Optuna studies, for optuna-dashboard and Optuna users.

Parameters have the distributions that they are searched in, so that Optuna's importances and plots are meaningful.
Metrics from different budgets cannot be compared, so each budget of the search has its own study, in addition to
the one of the whole run. The studies are derived from the log, and autoaccel itself never reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autoaccel.core.catalog import Domain
from autoaccel.core.codec import to_data
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.schedules import Option
from autoaccel.core.trial import OutcomeKind, Purpose
from autoaccel.core.values import plain_value
from autoaccel.spaces.choosers import is_switch
from autoaccel.spaces.distributions import distribution, to_optuna

STATES = {OutcomeKind.COMPLETE: TrialState.COMPLETE, OutcomeKind.PRUNED: TrialState.PRUNED,
          OutcomeKind.INFEASIBLE: TrialState.PRUNED}  # fmt: skip

PATIENCE = 1.0
"""Seconds to wait for a database that another process has locked: trials wait too."""


class StudyFile:
    """The SQLite file `study.db` with the Optuna studies of a run.

    Args:
        path: The SQLite file; created if missing.
        name: Name of the study with all trials; the studies of one budget are named `NAME @ BUDGET`.
        maximize: Whether a larger metric is better.
        domains: The searched parameters.
        portfolio: Recipes that are tried first; domains are widened to include their values.
    """

    def __init__(
        self, path: Path, name: str, maximize: bool, domains: Mapping[str, Domain], portfolio: Iterable[Recipe] = ()
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        connect = {"connect_args": {"timeout": PATIENCE}}
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs=connect)
        self._name = name
        self._direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
        self._domains = widened(domains, [*PLAIN.values(), *portfolio])
        self._studies: dict[str, optuna.Study] = {}
        self._written = {trial.user_attrs.get("trial") for trial in self._study(name).get_trials(deepcopy=False)}

    def add(self, record: TrialRecord) -> None:
        """Write a finished trial, with its cost and outcome, unless it was written before, or trained no model."""
        if record.outcome is None or record.number in self._written or record.purpose is Purpose.PACE:
            return
        self._written.add(record.number)
        made = self._trial(record)
        self._study(self._name).add_trial(made)
        if record.purpose in (Purpose.BASELINE, Purpose.SEARCH):
            self._study(f"{self._name} @ {record.request.budget}").add_trial(made)

    def close(self) -> None:
        """Close the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _study(self, name: str) -> optuna.Study:
        if name not in self._studies:
            self._studies[name] = optuna.create_study(
                storage=self._storage, study_name=name, direction=self._direction, load_if_exists=True
            )
        return self._studies[name]

    def _trial(self, record: TrialRecord) -> FrozenTrial:
        request, outcome = record.request, record.outcome
        assert outcome is not None
        flat: Mapping[str, Option] = request.recipe.flat()
        values = {name: flat.get(name, False) for name in self._domains if name in flat or is_switch(name)}
        params = {
            name: to_optuna(self._domains[name], given)
            for name, given in values.items()
            if self._domains[name].contains(given)
        }
        state = STATES.get(outcome.kind, TrialState.FAIL)
        attributes: dict[str, Any] = {
            "trial": request.trial,
            "purpose": request.purpose.value,
            "origin": request.origin,
            "parent": request.parent,
            "budget": to_data(request.budget),
            "outcome": outcome.kind.value,
            **outcome.cost,
            "reason": outcome.reason,
            "loss": record.final.loss if record.final else None,
            # Parameters that are not searched, or whose values are outside their domains.
            "fixed": {name: plain_value(given) for name, given in flat.items() if name not in params},
        }
        complete = state is TrialState.COMPLETE and record.final is not None
        return optuna.trial.create_trial(
            state=state,
            value=record.final.metric if complete and record.final else None,
            params=params,
            distributions={name: distribution(self._domains[name]) for name in params},
            user_attrs=attributes,
            constraints={"infeasible": float(outcome.kind is OutcomeKind.INFEASIBLE)},
            intermediate_values={report.milestone: report.metric for report in record.reports},
        )


def warm_up() -> None:
    """Load what writes a database; the first one would take a second of the budget at the end of a short run."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(storage=optuna.storages.RDBStorage("sqlite://"))


def widened(domains: Mapping[str, Domain], recipes: Iterable[Recipe]) -> dict[str, Domain]:
    """Return the domains, widened to include the values of some recipes if possible."""
    found = dict(domains)
    for recipe in recipes:
        for name, given in recipe.flat().items():
            if name in found:
                found[name] = _holding(found[name], given)
    return found


def _holding(domain: Domain, value: Option) -> Domain:
    if domain.contains(value):
        return domain
    if domain.options:
        return replace(domain, options=(*domain.options, value))
    if domain.fault(value) or not isinstance(value, int | float) or (domain.log and value <= 0):
        return domain
    return replace(domain, low=min(domain.low, value), high=max(domain.high, value))
