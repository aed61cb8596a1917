"""The HTML report, and the summaries of a run."""

import csv
import io

from sample_run import complete, entries, failed, request

from autoaccel.core.events import Start
from autoaccel.core.records import Trials
from autoaccel.core.trial import Purpose
from autoaccel.reporting.html import write_report
from autoaccel.storage.records import RunRecord
from autoaccel.tuner.summary import failures, leaderboard, trials_csv

HOSTILE = "<script>alert(1)</script>"


def record_of(log, **result):
    return RunRecord({"target": HOSTILE}, Trials(log), 5.0, result)


def test_a_killed_run_has_a_page():
    page = write_report(record_of(entries()))
    assert "no finished trial" in page and "unfinished" in page
    assert "https://" not in page.split("</style>")[1].split("<script>")[0]


def test_what_others_wrote_is_escaped():
    log = [*entries(), (4.0, failed(1, HOSTILE, HOSTILE)), (4.0, Start(request(2, Purpose.SEARCH, HOSTILE)))]
    page = write_report(record_of([*log, (5.0, complete(2))], headline=HOSTILE, load=HOSTILE))
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_failures_are_counted_by_reason_and_line():
    log = [*entries(), (4.0, failed(1, "ValueError: x", "model.py:3")), (4.0, Start(request(2)))]
    records = Trials([*log, (5.0, failed(2, "ValueError: x", "model.py:3"))])
    assert failures(records) == ["2 x failed: ValueError: x (model.py:3)"]


def test_leaderboard_and_csv():
    records = Trials([*entries(), (5.0, complete(1, metric=0.4))])
    assert [row["trial"] for row in leaderboard(records, maximize=False)] == [1, 0]
    assert [row["trial"] for row in leaderboard(records, maximize=True)] == [0, 1]
    rows = list(csv.DictReader(io.StringIO(trials_csv(records))))
    assert rows[0]["learning_rate"] == "linear" and rows[1]["learning_rate"] == "constant"
