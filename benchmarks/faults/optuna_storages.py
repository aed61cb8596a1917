"""Faults of storages, of disks, and of those who share them."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.faults.optuna_study import processes, quick, states, study
from benchmarks.faults.table import fault


@fault(4, "a torn last line costs that line only")
def torn_journal() -> tuple[bool, str]:
    """A crash cut seven bytes off the last line of a journal; the study is opened and gone on with, twice."""
    study(JournalStorage(JournalFileBackend("log"))).optimize(quick, n_trials=3)
    os.truncate("log", Path("log").stat().st_size - 7)
    return _opens_again(lambda: study(JournalStorage(JournalFileBackend("log"))))


def _opens_again(reopen: Callable[[], optuna.Study]) -> tuple[bool, str]:
    seen = []
    for attempt in ("first", "second"):
        try:
            made = reopen()
            made.optimize(quick, n_trials=1)
            seen.append(f"{attempt} time: {len(made.trials)} trials")
        except Exception as error:
            seen.append(f"{attempt} time: {type(error).__name__}")
    return "Error" not in seen[-1], "; ".join(seen)


def _full_disk(reopen: Callable[[], optuna.Study], path: str) -> tuple[bool, str]:
    reopen().optimize(quick, n_trials=3)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(path).stat().st_size + 100, hard))
    try:
        reopen().optimize(quick, n_trials=200)
        full = "no error"
    except Exception as error:
        full = type(error).__name__
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    kept, seen = _opens_again(reopen)
    return kept, f"while full: {full}; with room again: {seen}"


@fault(5, "works again when there is room")
def full_disk_journal() -> tuple[bool, str]:
    """The journal cannot grow any more; then it can."""
    return _full_disk(lambda: study(JournalStorage(JournalFileBackend("log"))), "log")


@fault(5, "works again when there is room")
def full_disk_sqlite() -> tuple[bool, str]:
    """The database cannot grow any more; then it can."""
    return _full_disk(study, "study.db")


@fault(18, "a finished trial outlives a locked database")
def database_locked() -> tuple[bool, str]:
    """Another process locks the database for eight seconds while a trial of one second runs."""
    made = study()
    lock = sqlite3.connect("study.db", isolation_level=None, check_same_thread=False)

    def objective(trial: optuna.Trial) -> float:
        value = quick(trial)
        lock.execute("BEGIN EXCLUSIVE")
        threading.Timer(8.0, lock.execute, ("COMMIT",)).start()
        time.sleep(1.0)
        return value

    try:
        made.optimize(objective, n_trials=1)
        seen = "no error"
    except Exception as error:
        seen = type(error).__name__
        time.sleep(8.0)
    return states(study()) == "COMPLETE", f"{seen}; afterwards {states(study())}"


@fault(19, "two that resume one run do not train more than was asked for")
def two_resumers() -> tuple[bool, str]:
    """Ten trials are wanted, none is done, and two processes do what is missing at the same time."""
    study()
    together = processes.Barrier(2)

    def resume() -> None:
        made = study()
        missing = 10 - len(made.trials)
        together.wait()
        made.optimize(lambda trial: time.sleep(0.05) or quick(trial), n_trials=missing)

    both = [processes.Process(target=resume) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    count = len(study().trials)
    return count == 10, f"{count} trials instead of 10"


@fault(22, "a changed search space is told when a run is resumed")
def changed_space() -> tuple[bool, str]:
    """The range of a parameter, then the values of a choice, are others than before."""
    study().optimize(
        lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_categorical("c", [1, 2]), n_trials=1
    )
    seen = {}
    for name, changed in {
        "range": lambda trial: trial.suggest_float("x", 5, 6),
        "choice": lambda trial: trial.suggest_categorical("c", [3, 4]),
    }.items():
        try:
            study().optimize(changed, n_trials=1)
            seen[name] = "accepted"
        except Exception as error:
            seen[name] = type(error).__name__
    return "accepted" not in seen.values(), ", ".join(f"{name}: {what}" for name, what in seen.items())
