"""Faults of trials, workers and the clock."""

from __future__ import annotations

import math
import os
import signal
import time
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from optuna.storages import RetryFailedTrialCallback

from benchmarks.faults.optuna_study import processes, quick, signalled, states, study, told, watched
from benchmarks.faults.table import fault


@fault(1, "a killed trial is told as lost and tried again")
def worker_killed() -> tuple[bool, str]:
    """SIGKILL of a worker."""
    after = signalled(signal.SIGKILL)
    return told(after), states(after)


@fault(1, "a killed trial is told as lost and tried again")
def worker_killed_with_heartbeat_and_retry() -> tuple[bool, str]:
    """The same with the experimental heartbeat and the retry that users may add."""
    after = signalled(signal.SIGKILL, lambda: watched(failed_trial_callback=RetryFailedTrialCallback()), 3.0)
    retried = any(RetryFailedTrialCallback.retry_history(trial) for trial in after.trials)
    return told(after) and retried, f"{states(after)}, {'tried again' if retried else 'not tried again'}"


@fault(11, "what is no number is never a complete trial")
def odd_values() -> tuple[bool, str]:
    """An objective that returns nan, None, a text, and both infinities."""
    given = {"nan": math.nan, "None": None, "'x'": "x", "inf": math.inf, "-inf": -math.inf}
    seen = {}
    for name, value in given.items():
        made = study(None)
        made.optimize(lambda _, value=value: value, n_trials=1, catch=Exception)
        seen[name] = states(made)
    return "COMPLETE" not in seen.values(), ", ".join(f"{name}: {state}" for name, state in seen.items())


@fault(12, "a hanging trial is ended, and the next one starts")
def hanging_objective() -> tuple[bool, str]:
    """An objective that never ends, with a timeout of one second."""
    made = study()
    worker = processes.Process(target=lambda: study().optimize(lambda _: time.sleep(600), timeout=1))
    worker.start()
    worker.join(15)
    hangs = worker.is_alive()
    worker.kill()
    worker.join()
    return not hangs, f"{'still running' if hangs else 'ended'} after 15 s, {states(made)}"


@fault(14, "the run ends at its deadline")
def timeout_in_a_long_objective() -> tuple[bool, str]:
    """`timeout=1` with an objective of six seconds."""
    made, began = study(), time.monotonic()
    made.optimize(lambda trial: time.sleep(6) or quick(trial), timeout=1)
    seconds = time.monotonic() - began
    return seconds < 1.5, f"ended after {seconds:.1f} s"


@fault(15, "a terminated trial is told, and the run goes on")
def worker_terminated() -> tuple[bool, str]:
    """SIGTERM of a worker."""
    after = signalled(signal.SIGTERM)
    return told(after), states(after)


@fault(17, "a clock that is set back does not stretch the budget")
def clock_set_back() -> tuple[bool, str]:
    """The wall clock that `timeout` reads goes back by three seconds after one; patched in this process only."""
    from optuna.study import _optimize

    began = time.monotonic()

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(seconds=3 * (time.monotonic() - began > 1))

    _optimize.datetime = SimpleNamespace(datetime=Shifted)  # type: ignore[assignment]
    study(None).optimize(lambda trial: time.sleep(0.1) or quick(trial), timeout=2)
    seconds = time.monotonic() - began
    return seconds < 2.5, f"timeout=2 ended after {seconds:.1f} s"


@fault(20, "a worker that comes back late does no harm and does not crash")
def worker_comes_back_late_with_heartbeat() -> tuple[bool, str]:
    """SIGSTOP for longer than the grace period, a trial of another worker meanwhile, SIGCONT."""
    study(watched())
    error = processes.Queue()

    def work() -> None:
        try:
            study(watched()).optimize(lambda trial: time.sleep(2) or quick(trial), n_trials=2)
            error.put("")
        except Exception as raised:
            error.put(type(raised).__name__)

    worker = processes.Process(target=work)
    worker.start()
    time.sleep(1.5)
    os.kill(worker.pid or 0, signal.SIGSTOP)
    time.sleep(4.0)
    other = study(watched())
    other.optimize(quick, n_trials=1)
    os.kill(worker.pid or 0, signal.SIGCONT)
    raised = error.get(timeout=30)
    worker.join()
    return not raised, f"the worker {f'crashed with {raised}' if raised else 'went on'}; {states(other)}"


@fault(21, "exactly one retry, also when killed between the two steps of it")
def killed_before_the_retry() -> tuple[bool, str]:
    """A process dies after it has told a lost trial as failed and before the callback has put it on the queue."""

    def die(*_: object) -> None:
        os._exit(1)

    dying = processes.Process(
        target=lambda: signalled(signal.SIGKILL, lambda: watched(failed_trial_callback=die), 3.0)
    )
    dying.start()
    dying.join()
    time.sleep(3.0)
    after = study(watched(failed_trial_callback=RetryFailedTrialCallback()))
    after.optimize(quick, n_trials=2)
    retries = sum(bool(RetryFailedTrialCallback.retry_history(trial)) for trial in after.trials)
    return retries == 1, f"{retries} retries; {states(after)}"
