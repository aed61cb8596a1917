"""Faults of trials, of their processes and of the driver in Ray Tune. Each starts a Ray of its own, on two CPUs."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import tune

from benchmarks.faults.table import fault

STORE = Path("store").absolute()
Config = dict[str, Any]


def quick(config: Config) -> None:
    """A trial without a fault."""
    tune.report({"loss": config["x"]})


def slow(config: Config) -> None:
    """A trial that says which process it is in and reports each second for twenty seconds."""
    Path(config["home"], f"pid-{os.getpid()}").touch()
    for step in range(20):
        time.sleep(1.0)
        tune.report({"loss": config["x"] + step})


def tuner(trainable: Callable[[Config], None], samples: int = 1, failures: int = 0, **options: Any) -> tune.Tuner:
    """Return a tuner of the working folder."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    return tune.Tuner(
        trainable,
        param_space={"x": tune.uniform(0.0, 1.0), "home": str(Path.cwd())},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=samples, **options),
        run_config=tune.RunConfig(
            name="run",
            storage_path=str(STORE),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=failures),
        ),
    )


def states(results: tune.ResultGrid) -> str:
    """Return how many trials have a result, and how many an error."""
    return f"{len(results) - results.num_errors} ended, {results.num_errors} with an error"


def first_process(seconds: float = 90.0) -> int:
    """Wait for the first trial of `slow`; return its process."""
    end = time.monotonic() + seconds
    while not (found := list(Path.cwd().glob("pid-*"))):
        if time.monotonic() > end:
            raise TimeoutError("no trial has started")
        time.sleep(0.05)
    return int(found[0].name.partition("-")[2])


def signalled(which: signal.Signals, failures: int = 0) -> tuple[tune.ResultGrid, int]:
    """End the process of a trial by a signal; return the results, and how many processes have trained."""
    code = (
        f"import os\nfrom benchmarks.faults.ray_trials import first_process\n"
        f"pid = first_process()\nimport time\ntime.sleep(1.5)\nos.kill(pid, {int(which)})"
    )
    with subprocess.Popen([sys.executable, "-c", code]):
        results = tuner(slow, failures=failures).fit()
    return results, len(list(Path.cwd().glob("pid-*")))


@fault(1, "a killed trial is told as lost and tried again")
def ray_worker_killed() -> tuple[bool, str]:
    """SIGKILL of a trial's process."""
    results, tries = signalled(signal.SIGKILL)
    return tries > 1, f"{states(results)}, {'tried again' if tries > 1 else 'not tried again'}"


@fault(1, "a killed trial is told as lost and tried again")
def ray_worker_killed_with_max_failures() -> tuple[bool, str]:
    """The same with the retries that users may add."""
    results, tries = signalled(signal.SIGKILL, failures=2)
    return tries > 1 and not results.num_errors, f"{states(results)}, trained by {tries} processes"


@fault(2, "nothing is left 5 s after the driver was killed, and the run goes on")
def ray_driver_killed() -> tuple[bool, str]:
    """SIGKILL of the driver in the first trial, then `Tuner.restore`."""
    code = "from benchmarks.faults.ray_trials import slow, tuner\ntuner(slow, 2).fit()"
    mark = {**os.environ, "MARK": "ray-driver"}
    with subprocess.Popen([sys.executable, "-c", code], env=mark, stderr=subprocess.DEVNULL) as driver:
        first_process()
        time.sleep(2.0)
        driver.kill()
    time.sleep(5.0)
    left = [each for each in psutil.process_iter() if _marked(each)]
    for each in left:
        each.kill()
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        results = tune.Tuner.restore(str(STORE / "run"), trainable=slow, resume_unfinished=True).fit()
        went_on = f"restored: {states(results)}"
    except Exception as error:
        went_on = f"not restored: {type(error).__name__}"
    return not left and went_on.startswith("restored: 2 ended, 0"), f"{len(left)} processes left; {went_on}"


def _marked(process: psutil.Process) -> bool:
    try:
        return process.environ().get("MARK") == "ray-driver" and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@fault(3, "what is whole is read, the rest is one line")
def ray_torn_state() -> tuple[bool, str]:
    """The newest file of the experiment's state ends in its middle."""
    tuner(quick, 2).fit()
    newest = max(STORE.glob("run/experiment_state-*.json"), key=lambda path: path.stat().st_mtime)
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    try:
        restored = tune.Tuner.restore(str(STORE / "run"), trainable=quick)
        return True, f"restored: {states(restored.get_results())}"
    except Exception as error:
        return False, f"not restored: {type(error).__name__}"


@fault(11, "what is no number is never a complete trial")
def ray_odd_values() -> tuple[bool, str]:
    """A trial that reports nan, None, a text, and both infinities."""
    given = {"nan": math.nan, "None": None, "'x'": "x", "inf": math.inf, "-inf": -math.inf}
    seen = {}
    for name, value in given.items():

        def report(config: Config, value: Any = value) -> None:
            tune.report({"loss": value})

        try:
            seen[name] = "an error" if tuner(report).fit().num_errors else "complete"
        except Exception as error:
            seen[name] = type(error).__name__
    return "complete" not in seen.values(), ", ".join(f"{name}: {state}" for name, state in seen.items())


@fault(12, "a hanging trial is ended")
def ray_hanging_trial() -> tuple[bool, str]:
    """A trial that never reports, with a budget of five seconds."""
    return _timed(lambda config: time.sleep(600), 40.0)


@fault(14, "the run ends at its deadline")
def ray_time_budget_in_a_long_trial() -> tuple[bool, str]:
    """`time_budget_s=5` with a trial of fifteen seconds between two reports."""
    return _timed(lambda config: time.sleep(15) or quick(config), 6.5)


def _timed(trainable: Callable[[Config], None], most: float) -> tuple[bool, str]:
    made = tuner(trainable, time_budget_s=5)
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(60)
    began = time.monotonic()
    try:
        made.fit()
    except TimeoutError:
        return False, "still running after 60 s"
    finally:
        signal.alarm(0)
    seconds = time.monotonic() - began
    return seconds < most, f"ended {seconds:.1f} s after its start"


def _late(*_: object) -> None:
    raise TimeoutError


@fault(15, "a terminated trial is told, and the run goes on")
def ray_worker_terminated() -> tuple[bool, str]:
    """SIGTERM of a trial's process."""
    results, tries = signalled(signal.SIGTERM)
    return tries > 1 or results.num_errors == 1, f"{states(results)}, {tries} process has trained"


@fault(22, "other files, data, budget, space, seed or version on resume are refused")
def ray_changed_space() -> tuple[bool, str]:
    """`Tuner.restore` with another range."""
    tuner(quick, 2).fit()
    try:
        space = {"x": tune.uniform(5.0, 6.0), "home": str(Path.cwd())}
        tune.Tuner.restore(str(STORE / "run"), trainable=quick, param_space=space, resume_errored=True).fit()
    except Exception as error:
        return True, f"refused: {type(error).__name__}"
    return False, "accepted"
