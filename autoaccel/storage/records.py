"""Read a run from disk, whether finished, running or killed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoaccel.core.events import Finished, Reported, Start
from autoaccel.core.facts import TaskFacts
from autoaccel.core.records import Trials
from autoaccel.core.trial import UNFINISHED, TrialRequest
from autoaccel.errors import UsageError
from autoaccel.storage.delivery import RESULT, current
from autoaccel.storage.folder import relocated
from autoaccel.storage.json_files import read_config, read_result, read_seconds
from autoaccel.storage.log import LOG, LogEntry, Scan, scan_log


@dataclass(frozen=True)
class RunRecord:
    """A whole run, finished or not.

    Args:
        config: The resolved configuration.
        trials: All trials in the order in which they started.
        seconds: Wall-clock seconds spent in all sessions of the run.
        result: The contents of `result.json`; empty until the first complete trial.
        notes: What to tell of damage to the folder, one line each.
    """

    config: Mapping[str, Any]
    trials: Trials
    seconds: float
    result: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def facts(self) -> TaskFacts | None:
        """The facts from the profile; None before the profile."""
        return self.trials.facts


def read_record(path: Path) -> RunRecord:
    """Read the run in a folder, as far as it is whole; `notes` tell what is not.

    Raises:
        UsageError: If the folder holds no run.
        StoreError: If one of its JSON files is damaged.
    """
    config = relocated(read_config(path), path)
    if not config:
        raise UsageError(f"{path} holds no run")
    result = relocated(read_result(current(path, RESULT)), path)
    return RunRecord(config, read_trials(path), read_seconds(path), result, scan_log(path / LOG).notes)


def seconds_spent(path: Path, entries: Iterable[LogEntry]) -> float:
    """Return the seconds that a run has spent before, by its account and by the entries of its log."""
    return max([read_seconds(path), *(now for now, _ in entries)])


def read_trials(path: Path) -> Trials:
    """Return all trials of the run in a folder of which there is a whole record; empty if there is no log.

    Of a log that is damaged, trials behind the damage count too. A log that `repair` has set aside tells of
    finished trials that the present one does not know, or as lost only.
    """
    first, *older = (scan_log(log) for log in (path / LOG, *damaged_logs(path)))
    entries = _whole(first)
    for scan in older:
        entries = _joined(entries, _whole(scan))
    return Trials(entries)


def damaged_logs(path: Path) -> list[Path]:
    """Return the logs that `repair` has set aside, the latest first."""
    return sorted(path.glob(f"{LOG}.damaged*"), key=lambda log: (len(log.name), log.name), reverse=True)


def orphans(scan: Scan) -> list[int]:
    """Return the numbers of finished trials of which the log no longer says what they were."""
    entries = [*scan.entries, *scan.behind]
    begun = _requests(entries)
    return [end.trial for _, end in entries if isinstance(end, Finished) and end.trial not in begun]


def _whole(scan: Scan) -> list[LogEntry]:
    """Return the entries, without reports and ends of trials whose start is not among them."""
    entries = [*scan.entries, *scan.behind]
    begun = {*_requests(entries), None}
    return [each for each in entries if _trial(each) in begun]


def _joined(newer: list[LogEntry], older: list[LogEntry]) -> list[LogEntry]:
    before, now = _requests(older), _requests(newer)
    settled = {end.trial for _, end in newer if isinstance(end, Finished) and end.outcome.kind not in UNFINISHED}
    told = {end.trial for _, end in older if isinstance(end, Finished)} - settled
    # A resumed run uses the numbers behind the damage anew, for other recipes.
    told = {trial for trial in told if now.get(trial, before[trial]) == before[trial]}
    kept = [each for each in newer if _trial(each) not in told]
    return sorted([*kept, *(each for each in older if _trial(each) in told)], key=lambda each: each[0])


def _requests(entries: Iterable[LogEntry]) -> dict[int, TrialRequest]:
    return {entry.request.trial: entry.request for _, entry in entries if isinstance(entry, Start)}


def _trial(entry: LogEntry) -> int | None:
    """Return the number of the trial that an entry is about; None if it is about none."""
    match entry[1]:
        case Start(request):
            return request.trial
        case Reported(report):
            return report.trial
        case Finished(number):
            return number
        case _:
            return None
