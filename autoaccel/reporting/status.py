"""The state of a run, live or ended, from its folder alone: nothing is locked and nothing written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import FLOPS, Cost, format_amount, format_flops, format_seconds
from autoaccel.core.records import TrialRecord, Trials
from autoaccel.errors import UsageError
from autoaccel.reporting.best import best_line
from autoaccel.reporting.phases import phase_of
from autoaccel.storage.delivery import RESULT, WEIGHTS, current, is_cut_off
from autoaccel.storage.folder import relocated
from autoaccel.storage.json_files import read_config, read_result, read_seconds
from autoaccel.storage.log import LOG, Scan, scan_log
from autoaccel.storage.owner import Owner, read_owner
from autoaccel.storage.records import read_trials
from autoaccel.storage.space import Floors

RUNNING, KILLED = "running", "killed"


@dataclass(frozen=True)
class Status:
    """The state of a run.

    Args:
        folder: The run folder.
        config: What it was started with; empty for a single training.
        result: What it has delivered; empty if nothing yet.
        trials: All trials of which there is a whole record.
        seconds: Seconds that it has spent.
        owner: The process that runs it; None if none does.
        log: The event log.
    """

    folder: Path
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    trials: Trials
    seconds: float
    owner: Owner | None
    log: Scan

    @property
    def state(self) -> str:
        """Running, complete, interrupted or killed."""
        ended = str(self.result.get("status", RUNNING))
        return RUNNING if self.owner else KILLED if ended == RUNNING else ended

    @property
    def phase(self) -> str:
        """What it is doing, or did last."""
        if self.trials.facts is None:
            return "profile" if self.config and "training" not in self.config else "training"
        return phase_of(self.trials)

    @property
    def budget(self) -> Budget:
        """The budget of the run; empty if it is not known."""
        return Budget(self.config.get("budget", {}))

    @property
    def spent(self) -> Cost:
        """What it has spent: its seconds, and the rest of the profile and the ended trials."""
        if not self.config:
            return Cost(self.result.get("spent", {}).get("final", {}))
        return self.trials.run_cost(self.seconds)

    @property
    def running(self) -> list[TrialRecord]:
        """The trials that run, or ran when it was killed."""
        return self.trials.running()


def read_status(path: Path) -> Status:
    """Read the state of the run in a folder.

    Raises:
        UsageError: If the folder holds no run.
        StoreError: If one of its JSON files is damaged.
    """
    config = relocated(read_config(path), path)
    result = relocated(read_result(current(path, RESULT)), path)
    owner = read_owner(path)
    owner = owner if owner and owner.alive else None
    if not config and not result and owner is None:
        raise UsageError(f"{path} holds no run")
    return Status(path, config, result, read_trials(path), read_seconds(path), owner, scan_log(path / LOG))


def status_data(status: Status) -> dict[str, Any]:
    """Return the state as plain data, with the times in seconds."""
    owner, live = status.owner, status.owner is not None
    return {
        "folder": str(status.folder),
        "target": (status.config or status.result).get("target"),
        "state": status.state,
        "phase": status.phase if live else None,
        "process": owner.process if owner else None,
        "host": owner.host if owner else None,
        "spent": dict(status.spent),
        "budget": dict(status.budget),
        "trials": _counts(status),
        "running": [_running(record, status.seconds) for record in status.running] if live else [],
        "best": best_line(status.trials) or None,
        "headline": status.result.get("headline"),
        "resume": resume_line(status),
        "notes": notes(status),
    }


def status_lines(status: Status) -> list[str]:
    """Return the state as lines of text."""
    counts = ", ".join(f"{number} {kind}" for kind, number in _counts(status).items())
    headline = status.result.get("headline")
    return [
        _head(status),
        f"spent: {_spent(status)}",
        *([f"trials: {counts}"] if counts else []),
        *(_running_line(_running(record, status.seconds)) for record in (status.running if status.owner else ())),
        *filter(None, [best_line(status.trials)]),
        *([f"delivered so far: {headline}" if status.state == RUNNING else str(headline)] if headline else []),
        f"--resume: {resume_line(status)}",
        *(f"note: {line}" for line in notes(status)),
    ]


def resume_line(status: Status) -> str:
    """Return what `--resume` would do."""
    if status.owner:
        return f"refused while {status.owner} runs it"
    if not status.config:
        return "none, it was trained by an older version"
    if "training" in status.config and status.result:
        return "nothing to do, the training has ended"
    if status.log.fault:
        return f"refused until `autoaccel repair {status.folder}` has mended the log"
    if status.state == "complete":
        return "nothing to do, the run is complete"
    ended = sum(not record.running for record in status.trials)
    cut_off = ", ".join(str(record.number) for record in status.running)
    return (
        f"goes on from {ended} ended trials with {_left(status)}{f'; cut off: trial {cut_off}' if cut_off else ''}"
    )


def notes(status: Status) -> list[str]:
    """Return what is damaged, and what floor of the disk or the memory is reached, one line each."""
    if status.owner:
        short = Floors(status.folder, WEIGHTS)() if status.owner.here else None
        return [*(status.log.notes if status.log.fault else []), *filter(None, [short])]
    cut_off = "a delivery was cut off; --resume or repair finishes it" if is_cut_off(status.folder) else None
    return [*status.log.notes, *filter(None, [cut_off])]


def _head(status: Status) -> str:
    target = (status.config or status.result).get("target", "a task")
    if status.owner:
        return f"{status.folder}: {status.phase} of {target}, run by {status.owner}"
    during = f" during the {status.phase}" if status.state == KILLED else ""
    return f"{status.folder}: {status.state}{during}, {target}"


def _spent(status: Status) -> str:
    of = [f"{format_amount(name, status.spent.get(name, 0.0))} of {format_amount(name, limit)}"
          for name, limit in status.budget.items()]  # fmt: skip
    seconds = [] if status.budget.seconds else [format_seconds(status.spent.seconds)]
    flops = [] if FLOPS in status.budget else [format_flops(status.spent.flops)]
    return ", ".join([*of, *seconds, *flops])


def _left(status: Status) -> str:
    left = {name: limit - status.spent.get(name, 0.0) for name, limit in status.budget.items()}
    if any(amount <= 0 for amount in left.values()):
        return "nothing left of its budget, so it only delivers"
    return f"{' and '.join(format_amount(name, amount) for name, amount in left.items())} left"


def _counts(status: Status) -> dict[str, int]:
    kinds = [record.state for record in status.trials]
    names = {kind: "cut off" if kind == RUNNING and not status.owner else kind for kind in dict.fromkeys(kinds)}
    return {name: kinds.count(kind) for kind, name in names.items()}


def _running(record: TrialRecord, now: float) -> dict[str, Any]:
    """Return a running trial; between evaluations, its progress is that of its time or its last evaluation."""
    request, latest = record.request, record.latest
    share = (now - record.started) / request.budget.seconds if request.budget.seconds else 0.0
    progress = min(1.0, max(share, latest.progress if latest else 0.0))
    return {
        "trial": record.number,
        "purpose": record.purpose.value,
        "origin": request.origin,
        "budget": str(request.budget),
        "progress": progress,
        "metric": latest.metric if latest else None,
    }


def _running_line(each: Mapping[str, Any]) -> str:
    metric = f", {each['metric']:.4g} at its last evaluation" if each["metric"] is not None else ""
    return f"  trial {each['trial']}: about {each['progress']:.0%} of {each['budget']}, {each['origin']}{metric}"
