"""The run folder: atomic writes, a lock, and a log that survives a truncated line."""

import json
import os
import socket
import subprocess
import sys

import optuna
import pytest
from sample_run import FACTS, complete, entries, request

from autoaccel.core.events import Start
from autoaccel.core.records import Trials
from autoaccel.core.trial import Purpose
from autoaccel.errors import StoreError, UsageError
from autoaccel.storage.choice import choose_folder
from autoaccel.storage.files import write_atomically
from autoaccel.storage.folder import RunFolder
from autoaccel.storage.log import Log, read_log, scan_log
from autoaccel.storage.optuna_export import StudyFile
from autoaccel.storage.records import read_record


def write_log(path):
    log = Log(path)
    for now, entry in entries():
        log.append(now, entry)
    log.close()


def test_a_log_is_read_back_as_it_was_written(tmp_path):
    write_log(tmp_path / "events.log")
    assert read_log(tmp_path / "events.log") == entries()


@pytest.mark.parametrize("torn", [1, 10, 60])
def test_a_torn_last_line_is_dropped_and_the_log_goes_on(tmp_path, torn):
    path = tmp_path / "events.log"
    write_log(path)
    path.write_bytes(path.read_bytes()[:-torn])
    log = Log(path)
    assert log.entries == entries()[:-1]
    log.append(4.0, Start(request(1)))
    log.close()
    assert read_log(path)[-1] == (4.0, Start(request(1)))


def test_a_damaged_line_is_refused_and_the_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "events.log"
    write_log(path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"0.5", b"0.4")
    path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    for use in (read_log, Log):
        with pytest.raises(StoreError, match=r"line 3 is damaged: .*entries behind it: 3, .* ends of trials: 1"):
            use(path)
    assert path.read_bytes() == before
    scan = scan_log(path)
    assert (list(scan.entries), list(scan.behind)) == (entries()[:2], entries()[3:])


def test_a_failed_write_leaves_the_old_content(tmp_path):
    path = tmp_path / "result.json"
    write_atomically(path, "old")
    (tmp_path / ".result.json.tmp").mkdir()  # blocks the temporary file
    with pytest.raises(StoreError, match="cannot be written"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_a_folder_in_use_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    code = (
        "import sys, pathlib\nfrom autoaccel.storage.folder import RunFolder\nRunFolder(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True, check=False
    )
    folder.close()
    assert f"in use by process {os.getpid()} on {socket.gethostname()}" in done.stderr


def test_where_a_run_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(path, status):
        path.mkdir(parents=True)
        (path / "config.json").write_text("{}")
        (path / "result.json").write_text(json.dumps({"status": status}))

    assert str(choose_folder(None, "digits", resume=False)) == "runs/digits"
    make(tmp_path / "runs/digits", "complete")
    assert str(choose_folder(None, "digits", resume=False)) == "runs/digits-2"
    with pytest.raises(UsageError, match="no unfinished run"):
        choose_folder(None, "digits", resume=True)
    make(tmp_path / "runs/digits-2", "running")
    with pytest.raises(UsageError, match="--resume"):
        choose_folder(None, "digits", resume=False)
    assert str(choose_folder(None, "digits", resume=True)) == "runs/digits-2"


def test_a_killed_run_has_a_record(tmp_path):
    write_log(tmp_path / "events.log")
    (tmp_path / "config.json").write_text(json.dumps({"target": "model.py"}))
    (tmp_path / "account.json").write_text(json.dumps({"seconds": 3.5}))
    record = read_record(tmp_path)
    assert record.facts == FACTS and record.seconds == 3.5
    assert [trial.complete for trial in record.trials] == [True, False]
    assert record.trials.spent(Purpose.BASELINE).flops == 2e6
    with pytest.raises(UsageError, match="holds no run"):
        read_record(tmp_path / "nothing")


def test_a_trial_is_in_the_study_once(tmp_path):
    records = Trials([*entries(), (5.0, complete(1, metric=0.4))])
    for _ in range(2):  # a resumed run reopens the file
        study = StudyFile(tmp_path / "study.db", "model", maximize=False, domains={})
        for record in records:
            study.add(record)
    stored = optuna.load_study(study_name="model", storage=f"sqlite:///{tmp_path}/study.db")
    assert [trial.value for trial in stored.trials] == [0.5, 0.4]
    assert stored.best_trial.user_attrs["origin"] == "plain_constant"
    assert stored.trials[0].intermediate_values == {0: 0.5, 1: 0.5}
