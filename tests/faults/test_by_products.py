"""`study.db`, the report and the other files beside weights, recipe and result never end a run."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from safetensors.torch import save_file
from sample_folder import BEST, make_run, run_entries, weights
from sample_run import complete, request

from autoaccel.core import checkpoints
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Start
from autoaccel.core.quantities import Cost
from autoaccel.core.records import Trials
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose
from autoaccel.storage.delivery import RESULT, WEIGHTS
from autoaccel.storage.folder import RunFolder
from autoaccel.storage.json_files import read_result
from autoaccel.storage.log import LOG, Log
from autoaccel.storage.study import QUICK, Study
from autoaccel.tuner import byproducts
from autoaccel.tuner.recorder import Recorder
from autoaccel.tuner.salvage import Salvage

TRIALS = Trials(run_entries())


class NoSpace:
    """A search space without parameters."""

    portfolio = {}

    def domains(self):
        return {}


def values(path):
    return [trial.value for trial in optuna.load_study(study_name="m", storage=f"sqlite:///{path}").trials]


def lock(path):
    database = sqlite3.connect(path)
    database.execute("BEGIN EXCLUSIVE")
    return database


def damage_pages(path):
    data = bytearray(path.read_bytes())
    data[4096:-4096] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)


FAULTS = {"locked": lock, "no database": lambda path: path.write_bytes(b"garbage" * 999),
          "damaged pages": damage_pages, "deleted": Path.unlink}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_study_that_fails_is_told_once_and_made_anew_at_the_end(tmp_path, fault):
    """Fault: study.db is locked, overwritten, damaged or deleted during a run. Promise: one warning, no wait of more
    than a second or two, and at the end a study with all trials."""
    path, notes = tmp_path / "study.db", []
    study = Study(path, "m", False, {}, [], notes.append)
    study.add(Trials(run_entries()[:4]))
    held = FAULTS[fault](path)
    started = time.monotonic()
    for _ in range(3):
        study.add(TRIALS)
    assert len(notes) == 1 and "the run goes on" in notes[0] and "\n" not in notes[0]
    assert time.monotonic() - started < 5
    study.finish(TRIALS)
    assert len(notes) == 1 and values(path) == [0.5, 0.6, None, 0.4, 0.3]
    if fault == "locked":
        held.close()


def test_the_journal_of_a_damaged_study_is_not_taken_for_that_of_the_new_one(tmp_path):
    """Fault: a crash left a journal beside study.db. Promise: it goes with the database that it belongs to."""
    path = tmp_path / "study.db"
    path.write_bytes(b"garbage" * 999)
    (tmp_path / "study.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(600))
    Study(path, "m", False, {}, [], print).rebuild(TRIALS)
    assert values(path) == [0.5, 0.6, None, 0.4, 0.3] and [file.name for file in tmp_path.iterdir()] == ["study.db"]


def test_a_study_that_takes_long_to_make_is_left_to_repair(tmp_path):
    """Fault: study.db breaks in a run of many trials. Promise: the deadline comes first, and repair is named."""
    path, notes = tmp_path / "study.db", []
    study = Study(path, "m", False, {}, [], notes.append)
    path.write_bytes(b"garbage" * 999)
    starts = [(1.0, Start(request(number))) for number in range(QUICK + 1)]
    study.finish(Trials([*starts, *((2.0, complete(number)) for number in range(QUICK + 1))]))
    assert len(notes) == 1 and "autoaccel repair" in notes[0] and path.read_bytes()[:7] == b"garbage"


def recorder(run, notes, trials=TRIALS, usable=(3, 4)):
    folder, log = RunFolder(run), Log(run / LOG)
    search = Salvage(trials, set(usable))
    made = Recorder(
        folder,
        log,
        search,
        NoSpace(),
        Budget(seconds=12.0),
        "model.py",
        "load",
        SimulatedClock(11.5),
        note=notes.append,
    )
    return folder, log, made


@pytest.mark.parametrize("name", ["report.html", "trials.csv", "accelerate_config.yaml", "train_best.py"])
def test_a_last_file_that_fails_is_a_warning(tmp_path, monkeypatch, name):
    """Fault: a file of the end cannot be written, here since a folder is in its place, or its making fails. Promise: one
    warning, all other files, and weights, recipe and result."""
    run, notes = make_run(tmp_path / "run"), []
    folder, log, made = recorder(run, notes)
    if name == "report.html":
        monkeypatch.setattr(byproducts, "write_report", lambda record: 1 / 0)
    else:
        (run / name / "in the way").mkdir(parents=True)
    with closing(folder), closing(log):
        made.deliver("complete", {})
    assert len(notes) == 1 and name in notes[0] and "\n" not in notes[0]
    for other in {"report.html", "trials.csv", "accelerate_config.yaml", "train_best.py", "study.db"} - {name}:
        assert (run / other).stat().st_size, other
    assert read_result(run / RESULT)["weights"]["trial"] == 4


def test_the_checkpoint_that_a_trial_goes_on_from_is_kept(tmp_path):
    """Fault: a final training hangs. Promise: its checkpoint is there for the trial that delivers its weights."""
    run = make_run(tmp_path / "run")
    cut, rescue = (
        request(5, Purpose.FINAL, "model"),
        replace(request(6, Purpose.FINAL, "model"), resumes=5, rescue=True),
    )
    hung = Outcome(OutcomeKind.TIMED_OUT, Cost(seconds=9.0), saved=Cost(seconds=8.0, steps=80))
    trials = Trials([*run_entries(), (20.0, Start(cut)), (30.0, Finished(5, hung)), (30.0, Start(rescue))])
    for number in (4, 5):
        checkpoints.write(run / f"trials/{number:04d}", hung.saved, lambda file: file.write(b"state"))
    folder, log, made = recorder(run, [], trials)
    with closing(folder), closing(log):
        made.handle(Finished(5, hung), 30.0)
        made.tick(31.0)
    assert [path.parent.name for path in sorted(run.glob("trials/*/checkpoints"))] == ["0005"]


def test_after_repair_what_was_delivered_stays_until_something_is_better(tmp_path):
    """Fault: the end of the delivered trial is lost from the log. Promise: a resumed run that finds nothing better
    delivers it all the same, and one that does replaces it."""
    run = make_run(tmp_path / "run")
    data = (run / LOG).read_bytes().split(b"\n")
    (run / LOG).write_bytes(b"\n".join([*data[:-3], b""]))  # without trial 4, which has 0.3
    entries = run_entries()[:-2]
    for metric, delivered in ((0.35, 0.3), (0.2, 0.2)):
        start = Start(request(4, Purpose.FINAL, "model", BEST))
        folder, log, made = recorder(run, [], Trials([*entries, (12.0, start), (13.0, complete(4, metric))]))
        save_file(weights(metric), folder.weights(4))
        with closing(folder), closing(log):
            made.tick(13.0)
            made.deliver("complete", {})
        result = read_result(run / RESULT)
        assert result["delivered"]["metric"] == delivered and result["status"] == "complete"
        stored = (run / WEIGHTS).read_bytes()
        save_file(weights(0.2 if delivered == 0.2 else 4), tmp_path / "own")
        assert stored == (tmp_path / "own").read_bytes()


MODEL = """
import torch
from torch import nn
from autoaccel import Task
x = torch.rand(600, 4)
y = (x.sum(1) > 2).long()
task = Task(model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), train=(x, y))
"""


@pytest.mark.slow
def test_a_run_whose_study_is_locked_ends_complete(tmp_path):
    """Fault: another process locks study.db as soon as it is there. Promise: exit 0, one warning, all trials in the study
    at the end; `status` tells how far the run is meanwhile."""
    (tmp_path / "model.py").write_text(MODEL)
    command = [sys.executable, "-m", "autoaccel.cli"]
    # Two workers have one thread each: two threads of one wait for each other on a busy machine.
    tune = [*command, "tune", "model.py", "--budget", "1e8 FLOPs", "--workers", "2", "--devices", "cpu"]
    tune += ["--out", "run", "-q"]
    run = tmp_path / "run"
    with subprocess.Popen(tune, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while not (run / RESULT).exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        held = lock(run / "study.db")
        told = subprocess.run(
            [*command, "status", "run"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        _, notes = process.communicate(timeout=200)
        held.close()
    assert f"run by process {process.pid} on " in told.stdout, told
    assert process.returncode == 0, notes
    assert notes.count("study.db") == 1 and "the run goes on" in " ".join(notes.split())
    study = optuna.load_study(study_name="model", storage=f"sqlite:///{run}/study.db")
    assert len(study.trials) == sum(read_result(run / RESULT)["trials"].values())
