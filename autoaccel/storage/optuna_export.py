"""The Optuna study of a run on disk, for optuna-dashboard and for people who know Optuna.

A view of the log that is written trial by trial; nothing of ours reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from autoaccel.core.trial import OutcomeKind
from autoaccel.storage.records import TrialRecord

STATES = {OutcomeKind.COMPLETE: TrialState.COMPLETE, OutcomeKind.PRUNED: TrialState.PRUNED,
          OutcomeKind.INFEASIBLE: TrialState.PRUNED}  # fmt: skip


class StudyFile:
    """`study.db`.

    Args:
        path: The SQLite file; made when missing.
        name: Name of the study.
        maximize: Whether a larger metric is better.
    """

    def __init__(self, path: Path, name: str, maximize: bool):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name=name,
            direction="maximize" if maximize else "minimize",
            load_if_exists=True,
        )
        known = self._study.get_trials(deepcopy=False)
        self._written = {trial.user_attrs.get("trial") for trial in known}

    def add(self, record: TrialRecord) -> None:
        """Write a finished trial once; cost and outcome are part of the same record."""
        outcome, request = record.outcome, record.request
        if outcome is None or request.trial in self._written:
            return
        self._written.add(request.trial)
        flat = request.recipe.flat()
        words = {key: flat.pop(key) for key, value in list(flat.items()) if isinstance(value, str)}
        state = STATES.get(outcome.kind, TrialState.FAIL)
        attributes: dict[str, Any] = {
            "trial": request.trial,
            # Optuna wants a word's options to be the same in all trials, and a user's space may add some later.
            **words,
            "purpose": request.purpose.value,
            "origin": request.origin,
            "budget": request.budget.to_data(),
            "outcome": outcome.kind.value,
            "seconds": outcome.cost.seconds,
            "flops": outcome.cost.flops,
            "reason": outcome.reason,
            "loss": record.final.loss if record.final else None,
        }
        complete = state is TrialState.COMPLETE and record.final is not None
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=record.final.metric if complete and record.final else None,
                params=flat,
                distributions={key: _distribution(value) for key, value in flat.items()},
                user_attrs=attributes,
                intermediate_values={r.milestone: r.metric for r in record.reports},
            )
        )


def _distribution(value: Any) -> BaseDistribution:
    """Wide enough for any value: Optuna wants the same distribution for a name in every trial."""
    if isinstance(value, bool):
        return CategoricalDistribution((False, True))
    return FloatDistribution(-1e12, 1e12)
