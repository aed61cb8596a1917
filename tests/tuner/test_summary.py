"""The result of simulated runs: what is delivered, and what its first line claims."""

import json
import math
from dataclasses import replace

import pytest
from simulation import FACTS, make, quality, simulate

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Profiled, Reported
from autoaccel.core.trial import Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.storage.folder import RunFolder, json_text
from autoaccel.storage.log import Log, read_log
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.summary import delivery, result_data


def result(search, budget, now=600.0):
    return result_data(search, budget, now, "complete")


def test_a_comparison_without_a_known_error_says_so_and_claims_nothing():
    search, _, _ = simulate(Budget(seconds=3600), standard_error=None)
    data = result(search, Budget(seconds=3600))
    assert data["comparison"]["gain"] > 0 and data["comparison"]["standard_error"] is None
    assert data["headline"].startswith("Better than plain")
    assert data["headline"].endswith("; the noise of the validation set is not known.")
    assert "NaN" not in json.dumps(data, allow_nan=False)


def test_a_trial_is_not_delivered_instead_of_the_final_training_if_the_error_is_not_known():
    def table(request, p):
        return 100.0 if request.purpose.value == "final" else quality(request, p)

    for error, what in ((0.0, "trial"), (None, "final")):
        search, _, _ = simulate(Budget(seconds=600), table, standard_error=error)
        assert delivery(search)[0] == what


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_file_holds_a_number_that_is_not_finite(tmp_path, value):
    folder = RunFolder(tmp_path)
    folder.write_json("result.json", {"a": [1.0, value], "b": {"c": (value,)}})
    folder.close()
    assert json.loads((tmp_path / "result.json").read_text()) == {"a": [1.0, None], "b": {"c": [None]}}
    assert json_text(value) == "null"


def test_a_log_with_unknown_errors_is_read_back(tmp_path):
    _, _, book = simulate(Budget(seconds=60), standard_error=math.nan)
    log = Log(tmp_path / "events.log")
    for now, entry in book.entries:
        log.append(now, entry)
    log.close()
    assert "NaN" not in (tmp_path / "events.log").read_text()
    again = [entry for _, entry in read_log(tmp_path / "events.log")]
    kinds = (Reported, Finished)
    assert [e for e in again if isinstance(e, kinds)] == [e for _, e in book.entries if isinstance(e, kinds)]


def untrained(purpose):
    """A run in which each training with this purpose ends before its first step."""

    class Executor(TableExecutor):
        def poll(self, timeout):
            return [self._untrained(event) for event in super().poll(timeout)]

        def _untrained(self, event):
            record = search.trials.get(event.trial) if isinstance(event, Finished) else None
            if record is None or record.purpose is not purpose:
                return event
            return replace(event, outcome=replace(event.outcome, cost=event.outcome.cost.replace(steps=0)))

    clock, search = SimulatedClock(2.0), make(Budget(seconds=600))
    Loop(search, Executor(quality, clock), clock).run([Profiled(FACTS)])
    return search


def test_a_final_training_of_no_steps_is_not_delivered():
    search = untrained(Purpose.FINAL)
    what, record = delivery(search)
    assert what == "trial" and record.purpose is Purpose.SEARCH and search.final() is None
    assert result(search, Budget(seconds=600))["final"] is None
