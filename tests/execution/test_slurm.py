"""A run as a job of submitit, whose local executor starts, signals and queues again real processes."""

import json
import signal
import sys
import time

import psutil
import pytest
from faulty_runs import MODEL, SLOW, Run

pytest.importorskip("submitit")

from autoaccel.execution.slurm import RunJob, submit

COMMAND = """
import signal, sys, time
from pathlib import Path
first, asked, folder, *more = sys.argv[1:]
sessions = Path(folder) / "sessions"
n = len(sessions.read_text().splitlines()) if sessions.exists() else 0
signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(asked)))
with sessions.open("a") as file:
    print(*more, file=file)
if n:
    sys.exit(0)
if first != "stays":
    sys.exit(int(first))
while True:
    time.sleep(0.05)
"""
"""Ends with the first exit code, or stays until SIGTERM and ends with the second; ends well when started again."""


class Submitted:
    """A job on this machine; what submitit calls a controller starts its process, again if it is to be queued again."""

    def __init__(self, folder, *command):
        self.run, self.logs = folder / "run", folder / "logs"
        self.run.mkdir(exist_ok=True)
        self.job = submit(RunJob(command, self.run), self.logs, "run", 5, 3, {}, cluster="local")

    @classmethod
    def of(cls, folder, first, asked=75):
        return cls(folder, sys.executable, "-c", COMMAND, str(first), str(asked), str(folder / "run"))

    def sessions(self):
        found = self.run / "sessions"
        return found.read_text().splitlines() if found.exists() else []

    def process(self):
        """The process that Slurm would signal."""
        (found,) = psutil.Process(int(self.job.job_id)).children()
        return found

    def until(self, happened, seconds=120.0):
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)

    def log(self):
        return (self.logs / f"{self.job.job_id}_0_log.out").read_text()

    def end(self, seconds=200.0):
        self.until(lambda: self.job.done(), seconds)
        return self.log()


@pytest.mark.parametrize("code", [2, 3, 5])
def test_a_run_that_fails_is_not_queued_again(tmp_path, code):
    """Nor is its error hidden: the job has its exit code."""
    submitted = Submitted.of(tmp_path, code)
    submitted.until(submitted.sessions)
    log = submitted.end()
    assert submitted.sessions() == [""] and "Requeued" not in log and "successful" not in log


def test_a_run_that_was_asked_to_end_is_queued_again(tmp_path):
    """Exit code 75, whoever asked: the machine may have signalled the run alone."""
    submitted = Submitted.of(tmp_path, 75)
    log = submitted.end()
    assert submitted.sessions() == ["", ""] and log.count("Requeued") == 1 and "successful" in log


@pytest.mark.parametrize("begun", [True, False])
def test_a_job_that_is_preempted_goes_on_with_its_run(tmp_path, begun):
    """Slurm may signal all processes of the job, and the run must not die of what only the job understands."""
    submitted = Submitted.of(tmp_path, "stays")
    submitted.until(submitted.sessions)
    if begun:
        (submitted.run / "config.json").write_text("{}")
    process = submitted.process()
    (command,) = process.children()
    command.send_signal(signal.SIGUSR2)
    process.send_signal(signal.SIGUSR2)
    log = submitted.end()
    assert submitted.sessions() == ["", "--resume" if begun else ""] and "successful" in log


@pytest.mark.parametrize("code", [0, 3])
def test_a_run_that_ends_as_its_job_is_preempted_is_not_queued_again(tmp_path, code):
    submitted = Submitted.of(tmp_path, "stays", code)
    submitted.until(submitted.sessions)
    submitted.process().send_signal(signal.SIGUSR2)
    assert "Requeued" not in submitted.end() and submitted.sessions() == [""]


def test_a_job_that_is_cancelled_saves_its_run_and_is_not_queued_again(tmp_path):
    """SIGTERM comes of scancel too. What follows is Slurm's: it kills the job, and queues it again or not."""
    submitted = Submitted.of(tmp_path, "stays")
    submitted.until(submitted.sessions)
    process = submitted.process()
    (command,) = process.children()
    process.send_signal(signal.SIGTERM)
    submitted.until(lambda: command.status() == psutil.STATUS_ZOMBIE)
    time.sleep(0.5)
    assert process.is_running() and submitted.sessions() == [""]
    process.kill()
    assert "Requeued" not in submitted.end() and submitted.sessions() == [""]


def tuned(folder, *arguments, model=MODEL):
    """Submit a tune as the command line does."""
    run = Run(folder, model=model)  # only what is read of a run
    command = [sys.executable, "-m", "autoaccel.cli", "tune", str(folder / "model.py"), *arguments]
    submitted = Submitted(folder, *command, f"--out={folder / 'run'}")
    run.run = submitted.run
    return submitted, run


@pytest.mark.slow
def test_a_tune_runs_to_its_end(tmp_path):
    submitted, run = tuned(tmp_path, "--flops", "3e7")
    log = submitted.end()
    assert run.result["status"] == "complete" and "Everything is in" in log and "successful" in log


@pytest.mark.slow
def test_a_tune_that_is_preempted_goes_on_from_its_checkpoint(tmp_path):
    """One run and one result, within the budget that it was given, on a clock that goes on too. It is one of FLOPs, of
    which a busy machine takes none for the second start."""
    submitted, run = tuned(tmp_path, "--flops", "1e8", model=SLOW)
    finals = lambda: [entry for entry in run.started() if entry["purpose"] == "final"]  # noqa: E731
    submitted.until(finals)
    time.sleep(1.0)
    submitted.process().send_signal(signal.SIGUSR2)
    log = submitted.end()
    assert log.count("Requeued") == 1 and run.result["status"] == "complete", log
    assert finals()[-1]["carried"]["steps"] > 0
    assert run.result["final"]["cost"]["steps"] > finals()[-1]["carried"]["steps"]
    assert sum(spent.get("flops", 0.0) for spent in run.result["spent"].values()) <= 1.01e8
    lines = (run.run / "events.log").read_text().splitlines()
    times = [json.loads(line.partition(" ")[2])[0] for line in lines]
    assert times == sorted(times)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_tune_whose_task_is_at_fault_is_not_queued_again(tmp_path):
    submitted, _ = tuned(tmp_path, "--flops", "1e8", model="import no_such_module\n")
    log = submitted.end()
    assert log.count("no_such_module") >= 1 and "Requeued" not in log and "Traceback" not in log
