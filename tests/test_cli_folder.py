"""`status`, `repair` and `doctor` as a user types them."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sample_folder import make_run, run_entries

from autoaccel.core.events import Finished
from autoaccel.reporting.status import read_status, status_data, status_lines
from autoaccel.storage.delivery import RESULT, WEIGHTS
from autoaccel.storage.folder import RunFolder
from autoaccel.storage.log import LOG, Log
from autoaccel.storage.owner import Owner
from autoaccel.tuner.doctor import EXTRAS, doctor_lines, examine


def call(*arguments, cwd):
    command = [sys.executable, "-m", "autoaccel.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=100)


def snapshot(run):
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in run.rglob("*") if file.is_file()}


def cut_off(run, status="running"):
    """Make the run one that was killed while trial 3 trained."""
    entries = [entry for entry in run_entries() if not (isinstance(entry[1], Finished) and entry[1].trial >= 3)][
        :-1
    ]
    (run / LOG).unlink()
    log = Log(run / LOG)
    for now, entry in entries:
        log.append(now, entry)
    log.close()
    (run / RESULT).write_text((run / RESULT).read_text().replace('"status": "complete"', f'"status": "{status}"'))
    (run / "account.json").write_text('{"seconds": 8.6}')


def test_status_of_a_complete_run_reads_only(tmp_path):
    run = make_run(tmp_path / "run")
    before = snapshot(run)
    lines = status_lines(read_status(run))
    assert snapshot(run) == before
    assert lines[0].endswith("run: complete, model.py")
    assert lines[1:4] == [
        "spent: 11.5 s of 12.0 s, 9 MFLOPs",
        "trials: 4 complete, 1 pruned",
        "best loss 0.4, plain 0.5, with 2.0 s each",
    ]
    assert lines[-1] == "--resume: nothing to do, the run is complete"


def test_status_of_a_killed_run_says_what_resume_would_do(tmp_path):
    run = make_run(tmp_path / "run")
    cut_off(run)
    lines = status_lines(read_status(run))
    assert lines[0].endswith("run: killed during the search, model.py")
    assert "trials: 2 complete, 1 pruned, 1 cut off" in lines
    assert lines[-1] == "--resume: goes on from 3 ended trials with 3.4 s left; cut off: trial 3"
    with (run / LOG).open("ab") as log:
        log.write(b"torn")
    assert "the last line was cut off by a crash" in status_lines(read_status(run))[-1]
    (run / LOG).write_bytes((run / LOG).read_bytes()[:300] + b"x" + (run / LOG).read_bytes()[301:])
    assert "--resume: refused until `autoaccel repair" in "\n".join(status_lines(read_status(run)))


def test_status_of_a_live_run_names_the_process_and_needs_no_lock(tmp_path):
    run = make_run(tmp_path / "run")
    cut_off(run)
    folder = RunFolder(run)
    done = call("status", "run", "--json", cwd=tmp_path)
    data = json.loads(done.stdout)
    folder.close()
    assert (data["state"], data["phase"], data["process"]) == ("running", "search", os.getpid())
    (running,) = data["running"]
    assert running["trial"] == 3 and running["progress"] == pytest.approx(0.8) and running["metric"] == 0.5
    assert data["resume"].startswith(f"refused while process {os.getpid()} on ")
    assert status_data(read_status(run))["state"] == "killed"


def test_a_process_of_the_same_number_is_not_the_owner():
    here = Owner.of_this_process()
    assert here.alive and here.here
    assert not Owner(here.process, here.host, here.started - 100).alive
    assert Owner(here.process, "elsewhere", 0.0).alive, "of another machine it cannot be told"


def test_what_is_no_run_or_damaged_is_one_line(tmp_path):
    make_run(tmp_path / "run")
    (tmp_path / "run" / RESULT).write_text("[]")
    for command in ("status", "report", "export"):
        done = call(command, "run", cwd=tmp_path)
        assert done.returncode == 5 and done.stderr.startswith("error: run/result.json: holds a list"), done
        assert call(command, "nothing", cwd=tmp_path).returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_repair_and_reading_commands_on_a_damaged_log(tmp_path):
    run = make_run(tmp_path / "run")
    lines = (run / LOG).read_bytes().split(b"\n")
    (run / LOG).write_bytes(b"\n".join([*lines[:5], b"gone", *lines[6:]]))
    for command in (("report",), ("export", "--format", "json")):
        done = call(*command, "run", cwd=tmp_path)
        assert done.returncode == 0 and "warning: run/events.log: line 6 is damaged" in done.stderr, done.stderr
    assert call("export", "run", "--format", "json", cwd=tmp_path).stdout.startswith("{")
    done = call("repair", "run", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.splitlines()[0].startswith("events.log.damaged: the damaged log as it was (line 6")
    assert call("repair", "nothing", cwd=tmp_path).returncode == 2
    assert (run / WEIGHTS).exists()


def test_doctor(tmp_path):
    done = call("doctor", "--json", cwd=tmp_path)
    data = json.loads(done.stdout)
    assert done.returncode == 0 and data["ok"], done
    assert data["checks"] == {"write, fsync and rename": None, "SQLite and Optuna": None}
    assert data["versions"]["torch"] and data["hardware"]["cores"] >= 1
    assert list(tmp_path.iterdir()) == []
    assert doctor_lines(data)[-1] == "nothing is wrong"


def test_doctor_tells_what_is_wrong(tmp_path):
    found = examine(tmp_path)
    found["checks"]["SQLite and Optuna"] = "OperationalError: disk I/O error"
    found["extras"]["image"]["installed"] = False
    found["room"]["disk"]["free"] = 5 << 20
    text = "\n".join(doctor_lines({**found, "ok": False}))
    assert "FAILED    SQLite and Optuna: OperationalError: disk I/O error" in text
    assert "missing    more augmentations of images (pip install 'autoaccel[image]')" in text
    assert "5 MiB free; TOO LITTLE, below 128 MiB no new trial starts" in text
    assert text.endswith("see above")


def test_doctor_knows_all_extras():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    declared = {
        name: {part.partition(">")[0] for part in parts}
        for name, parts in project["optional-dependencies"].items()
        if name not in ("bench", "test")
    }
    assert {name: set(packages) for name, (packages, _) in EXTRAS.items()} == declared
