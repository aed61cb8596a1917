"""What the faults that are done to Optuna share; see `table`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import optuna
from optuna.storages import RDBStorage

SQLITE = "sqlite:///study.db"
processes = multiprocessing.get_context("fork")


def study(storage: Any = SQLITE, **options: Any) -> optuna.Study:
    """Return the study of the working folder."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return optuna.create_study(storage=storage, study_name="study", load_if_exists=True, **options)


def quick(trial: optuna.Trial) -> float:
    """A trial without a fault."""
    return trial.suggest_float("x", 0.0, 1.0)


def states(made: optuna.Study) -> str:
    """Return the states of all trials."""
    return " ".join(trial.state.name for trial in made.trials) or "no trial"


def watched(**options: Any) -> RDBStorage:
    """Return a storage with heartbeats, which are not on by default."""
    return RDBStorage(SQLITE, heartbeat_interval=1, grace_period=2, **options)


def signalled(
    which: signal.Signals, storage: Callable[[], Any] = lambda: SQLITE, wait: float = 0.0
) -> optuna.Study:
    """End a worker in its first trial by a signal, and let another one do a trial `wait` seconds later."""
    study(storage())

    def work() -> None:
        study(storage()).optimize(lambda trial: time.sleep(60) or quick(trial), n_trials=1)

    worker = processes.Process(target=work)
    worker.start()
    while not study(storage()).trials:
        time.sleep(0.1)
    time.sleep(1.0)
    os.kill(worker.pid or 0, which)
    worker.join()
    time.sleep(wait)
    after = study(storage())
    after.optimize(quick, n_trials=2)
    return after


def told(made: optuna.Study) -> bool:
    """Return whether the state of every trial says that it has ended."""
    return all(trial.state.is_finished() for trial in made.trials)
