"""What happened in a run, as a value: read back from the log of events, also of a run that was killed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Cost
from autoaccel.core.events import Event, Finished, Profiled, Reported, Start
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Report, TaskFacts, TrialRequest
from autoaccel.errors import UsageError
from autoaccel.storage.folder import LOG, read_json
from autoaccel.storage.log import read_log


@dataclass(frozen=True)
class TrialRecord:
    """One trial: what was asked, what it reported, how it ended.

    Args:
        request: What was asked.
        started: Reading of the run's clock, in seconds, when it was asked.
        ended: The same when its outcome arrived; None while it runs, or if the run was killed.
        reports: Its evaluations, in order.
        outcome: How it ended; None while it runs, or if the run was killed.
    """

    request: TrialRequest
    started: float
    ended: float | None = None
    reports: tuple[Report, ...] = ()
    outcome: Outcome | None = None

    @property
    def complete(self) -> bool:
        """Whether it ran to the end of its budget."""
        return self.outcome is not None and self.outcome.kind is OutcomeKind.COMPLETE

    @property
    def final(self) -> Report | None:
        """The evaluation at its end, if it was complete."""
        return self.outcome.final if self.outcome else None


@dataclass(frozen=True)
class RunRecord:
    """A whole run, finished or not.

    Args:
        config: The resolved configuration.
        facts: What the profile found; None before it.
        trials: All trials in the order of their start.
        seconds: Wall seconds spent over all sessions of the run.
        result: The contents of `result.json`; empty before the first finished trial.
    """

    config: Mapping[str, Any]
    facts: TaskFacts | None
    trials: tuple[TrialRecord, ...]
    seconds: float
    result: Mapping[str, Any] = field(default_factory=dict)

    def spent(self) -> dict[str, Cost]:
        """The cost of the trials, summed by purpose."""
        costs = {purpose.value: Cost() for purpose in Purpose}
        for trial in self.trials:
            if trial.outcome:
                costs[trial.request.purpose.value] += trial.outcome.cost
        return costs


def read_record(path: Path) -> RunRecord:
    """The run in a folder, finished, running or killed.

    Raises:
        UsageError: If there is no run.
    """
    config = read_json(path / "config.json")
    if not config:
        raise UsageError(f"{path} holds no run")
    facts, trials = trial_records(read_log(path / LOG))
    seconds = float(read_json(path / "account.json").get("seconds", 0.0))
    return RunRecord(config, facts, tuple(trials), seconds, read_json(path / "result.json"))


def trial_records(log: Iterable[tuple[float, Event | Start]]) -> tuple[TaskFacts | None, list[TrialRecord]]:
    """Fold a log of starts and events, each with its time, into the task's facts and the trials."""
    facts: TaskFacts | None = None
    trials: dict[int, TrialRecord] = {}
    for now, entry in log:
        match entry:
            case Profiled(found):
                facts = found
            case Start(request):
                trials[request.trial] = TrialRecord(request, now)
            case Reported(report):
                trial = trials[report.trial]
                trials[report.trial] = replace(trial, reports=(*trial.reports, report))
            case Finished(number, outcome):
                trials[number] = replace(trials[number], ended=now, outcome=outcome)
            case _:
                pass
    return facts, list(trials.values())
