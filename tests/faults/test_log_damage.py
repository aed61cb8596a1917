"""A damaged log is never believed in part and never cut silently; `repair` brings back all that is whole."""

import csv
import random
from contextlib import closing

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_folder import make_run, run_entries
from sample_run import complete, request

from autoaccel.core.events import Start
from autoaccel.core.trial import Purpose
from autoaccel.errors import StoreError, UsageError
from autoaccel.storage.delivery import RECIPE, RESULT, WEIGHTS
from autoaccel.storage.json_files import read_result
from autoaccel.storage.log import LOG, Log, read_log, scan_log
from autoaccel.storage.mending import mended
from autoaccel.storage.records import read_record, read_trials
from autoaccel.tuner.repair import repair
from autoaccel.tuner.result import Result


def damage(run, line, content=b"\x00\x01binary"):
    lines = (run / LOG).read_bytes().split(b"\n")
    lines[line] = content
    (run / LOG).write_bytes(b"\n".join(lines))


def repaired(run):
    lines = []
    repair(run, lines.append)
    return lines


@pytest.mark.parametrize("cut", [1, 2, 50, 200])
def test_a_torn_last_line_is_dropped_with_one_note(tmp_path, cut):
    """Fault: a crash cuts 1 to n bytes off the last line. Promise: one note, and the next append is clean."""
    run = make_run(tmp_path / "run")
    path = run / LOG
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(read_record(run).notes) == 1 and "cut off by a crash" in read_record(run).notes[0]
    with closing(Log(path)) as log:
        assert log.entries == run_entries()[:-1]
        log.append(*run_entries()[-1])
    assert read_log(path) == run_entries() and not read_record(run).notes


WRONG = {
    "a line of binary": lambda line: b"\x80\x00\xff" * 30,
    "an empty line": lambda line: b"",
    "an unknown kind": lambda line: crc(b'[1.0, "teleported", {}]'),
    "no JSON": lambda line: crc(b"[1.0, "),
    "other JSON": lambda line: crc(b'{"a": 1}'),
    "deep JSON": lambda line: crc(b"[" * 50_000),
    "a wrong field": lambda line: crc(line[9:].replace(b'"trial": 3', b'"trial": "x"')),
}


def crc(body):
    import zlib

    return f"{zlib.crc32(body):08x} ".encode() + body


@pytest.mark.parametrize("kind", WRONG)
def test_other_damage_is_told_and_the_file_stays(tmp_path, kind):
    """Fault: a line in the middle is not an event. Promise: exit 5 with the line and what is behind it, the file as it
    was, and reports and exports from what is whole."""
    run = make_run(tmp_path / "run")
    path = run / LOG
    damage(run, 11, WRONG[kind](path.read_bytes().split(b"\n")[11]))
    before = path.read_bytes()
    for use in (read_log, Log):
        with pytest.raises(
            StoreError, match=r"line 12 is damaged: .*behind it: 3, .*trials: 2\).*autoaccel repair"
        ):
            use(path)
    assert path.read_bytes() == before
    record = read_record(run)
    assert len(record.notes) == 1 and [trial.number for trial in record.trials] == [0, 1, 2, 3, 4]
    assert sum(trial.complete for trial in record.trials) == 4


def test_any_flipped_bit_is_turned_back(tmp_path):
    """Fault: one bit of the log flips, 200 seeded places. Promise: `repair` gives back the log byte for byte."""
    data, rng = (make_run(tmp_path / "run") / LOG).read_bytes(), random.Random(0)
    for place in (rng.randrange(8 * (len(data) - 1)) for _ in range(200)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        assert mended(bytes(damaged)) == (data, 1), place


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_done_to_a_log_reading_it_gives_no_traceback(tmp_path_factory, data):
    """Fault: any bytes at any place. Promise: the entries before it are those that were written, or a StoreError."""
    path = tmp_path_factory.mktemp("log") / LOG
    with closing(Log(path)) as log:
        for entry in run_entries():
            log.append(*entry)
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content)))
    content[start : start + data.draw(st.integers(0, 400))] = data.draw(st.binary(max_size=50))
    path.write_bytes(content)
    scan = scan_log(path)
    assert list(scan.entries) == run_entries()[: len(scan.entries)]
    read_trials(path.parent)


def test_repair_after_a_flipped_bit_loses_nothing(tmp_path):
    """Fault: a bit flips in the middle. Promise: the log is as it was, the damaged one is kept, all files are there."""
    run = make_run(tmp_path / "run")
    whole = (run / LOG).read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 4
    for number in ("", "-2"):
        (run / LOG).write_bytes(damaged)
        lines = repaired(run)
        assert (run / LOG).read_bytes() == whole
        assert (run / f"{LOG}.damaged{number}").read_bytes() == damaged
    assert any("flipped bits turned back in 1 places" in line for line in lines)
    for name in ("trials.csv", "report.html", "study.db", "train_best.py", "accelerate_config.yaml"):
        assert (run / name).stat().st_size, name
    study = optuna.load_study(study_name="model", storage=f"sqlite:///{run}/study.db")
    assert len(study.trials) == 5
    assert not list(run.glob(".*")), "nothing temporary is left"


def test_repair_keeps_the_finished_trials_behind_what_cannot_be_mended(tmp_path):
    """Fault: a whole line is lost. Promise: --resume gets what can be replayed, the record all that is whole."""
    run = make_run(tmp_path / "run")
    damage(run, 8)  # a report of trial 2
    lines = repaired(run)
    assert read_log(run / LOG) == run_entries()[:8]
    assert any(line.startswith("lost to --resume: line 9 is damaged") for line in lines)
    rows = list(csv.DictReader((run / "trials.csv").read_text().splitlines()))
    assert [(row["trial"], row["outcome"]) for row in rows] == [
        ("0", "complete"), ("1", "complete"), ("2", "pruned"), ("3", "complete"), ("4", "complete")]  # fmt: skip
    assert read_result(run / RESULT)["delivered"]["trial"] == 4
    # A resumed run uses the numbers anew: its trials count then, and the others are still there.
    with closing(Log(run / LOG)) as log:
        log.append(20.0, Start(request(3, Purpose.SEARCH, "random")))
        log.append(21.0, complete(3, 0.55))
    trials = read_trials(run)
    assert [trial.number for trial in trials] == [0, 1, 2, 4, 3]
    assert trials[3].final.metric == 0.55 and trials[4].complete


def test_repair_says_of_which_trial_nothing_is_known(tmp_path):
    """Fault: the line that says what a trial was is lost. Promise: it is said."""
    run = make_run(tmp_path / "run")
    damage(run, 10)
    assert "lost: the line that says what trial 3 was; it had finished" in repaired(run)
    assert 3 not in [trial.number for trial in read_trials(run)]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"status": "complete"}', '{"headline": 3}'])
def test_repair_makes_a_result_anew(tmp_path, content):
    """Fault: result.json is damaged. Promise: made anew from the log, of the final training, whose model loads."""
    run = make_run(tmp_path / "run")
    before = read_result(run / RESULT)
    (run / RESULT).write_text(content)
    with pytest.raises(StoreError):
        Result.load(run)
    assert any("made anew from trial 4 (final)" in line for line in repaired(run))
    after = read_result(run / RESULT)
    assert {key: after[key] for key in ("recipe", "delivered", "weights", "headline")} == {
        key: before[key] for key in ("recipe", "delivered", "weights", "headline")
    }
    assert Result.load(run).weights()[0] == run / WEIGHTS


def test_repair_finds_whose_weights_lie_there_by_the_recipe(tmp_path):
    """Fault: result.json of a complete run, which keeps no weights of trials, is gone."""
    run = make_run(tmp_path / "run")
    for weights in run.glob(f"trials/*/{WEIGHTS}"):
        weights.unlink()
    before = read_result(run / RESULT)
    (run / RESULT).unlink()
    repaired(run)
    assert read_result(run / RESULT)["weights"] == before["weights"]


def test_repair_takes_the_trial_whose_weights_are_whole(tmp_path):
    """Fault: the delivered weights are damaged. Promise: delivered anew from the trial's own; without them the recipe is
    kept, and the damaged weights are set aside."""
    run = make_run(tmp_path / "run")
    (run / WEIGHTS).write_bytes(b"damaged")
    repaired(run)
    assert Result.load(run).weights()[0].read_bytes() == (run / "trials/0004" / WEIGHTS).read_bytes()
    (run / WEIGHTS).write_bytes(b"damaged")
    for weights in run.glob(f"trials/*/{WEIGHTS}"):
        weights.unlink()
    recipe = (run / RECIPE).read_text()
    assert any("--recipe" in line for line in repaired(run))
    assert (run / f"{WEIGHTS}.damaged").read_bytes() == b"damaged" and (run / RECIPE).read_text() == recipe
    with pytest.raises(StoreError, match="the weights of the delivered trial are missing"):
        Result.load(run).weights()
    assert repaired(run)[-1].startswith("made anew: trials.csv")


def test_repair_of_a_whole_run_changes_nothing_that_counts(tmp_path):
    run = make_run(tmp_path / "run")
    kept = {
        name: (run / name).read_bytes() for name in (LOG, RESULT, RECIPE, WEIGHTS, "config.json", "account.json")
    }
    lines = repaired(run)
    assert lines[0] == f"{LOG}: whole, {len(run_entries())} entries"
    assert {name: (run / name).read_bytes() for name in kept} == kept
    with pytest.raises(UsageError, match="holds no run"):
        repair(tmp_path / "nothing", print)
    assert not (tmp_path / "nothing").exists()


def test_the_account_is_made_anew_by_the_log(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "account.json").write_text("[]")
    assert "account.json: written anew, 11.0 s spent by the last event of the log" in repaired(run)
    assert read_record(run).seconds == 11.0
