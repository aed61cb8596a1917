"""Read a run from disk, whether finished, running or killed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoaccel.core.facts import TaskFacts
from autoaccel.core.records import Trials
from autoaccel.errors import UsageError
from autoaccel.storage.folder import LOG, read_json, relocated
from autoaccel.storage.log import read_log
from autoaccel.storage.upgrade import upgraded_result


@dataclass(frozen=True)
class RunRecord:
    """A whole run, finished or not.

    Args:
        config: The resolved configuration.
        trials: All trials in the order in which they started.
        seconds: Wall-clock seconds spent in all sessions of the run.
        result: The contents of `result.json`; empty until the first complete trial.
    """

    config: Mapping[str, Any]
    trials: Trials
    seconds: float
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> TaskFacts | None:
        """The facts from the profile; None before the profile."""
        return self.trials.facts


def read_record(path: Path) -> RunRecord:
    """Read the run in a folder.

    Raises:
        UsageError: If the folder holds no run.
    """
    config = relocated(read_json(path / "config.json"), path)
    if not config:
        raise UsageError(f"{path} holds no run")
    seconds = float(read_json(path / "account.json").get("seconds", 0.0))
    result = relocated(upgraded_result(read_json(path / "result.json")), path)
    return RunRecord(config, read_trials(path), seconds, result)


def read_trials(path: Path) -> Trials:
    """Return all trials of the run in a folder; empty if there is no log."""
    return Trials(read_log(path / LOG))
