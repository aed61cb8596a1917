"""The result of simulated runs: what is delivered, and what its first line claims."""

import json
import math
from dataclasses import replace

import pytest
from simulation import FACTS, make, quality, simulate

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Profiled, Reported
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.storage.folder import RunFolder, json_text
from autoaccel.storage.log import Log, read_log
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay
from autoaccel.tuner.summary import delivery, headline, result_data


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


def interrupted(seconds, table=quality, budget=3600.0):
    """A run of an hour that is interrupted after these seconds."""
    clock, search = SimulatedClock(2.0), make(Budget(seconds=budget))
    executor = TableExecutor(table, clock, standard_error=0.0)
    Loop(search, executor, clock, [], lambda: clock.now() >= seconds, patience=5.0).run([Profiled(FACTS)])
    return search


@pytest.mark.parametrize("seconds", [200, 500, 800, 1000])
def test_what_an_interrupted_run_delivers_is_what_its_headline_says(seconds):
    """The longest plain trial is on the top rung long before a recipe is; it says nothing about recipes."""
    search = interrupted(seconds)
    data = result(search, Budget(seconds=3600))
    assert data["comparison"]["gain"] > 0 and data["headline"].startswith("Better than plain")
    assert data["delivered"]["what"] == "trial" and search.best().request.recipe not in PLAIN.values()
    assert search.best().request.recipe == search.comparison().winner.request.recipe


def test_plain_is_not_delivered_under_the_words_better_than_plain():
    """The winner's final training fails, and so does that of the next; a plain trial is all that is left."""
    search, _, _ = simulate(Budget(seconds=3600))
    data = result(search, Budget(seconds=3600))
    text = headline(search.trials, data["comparison"], search.baseline())
    assert text.startswith("Plain is delivered, although another recipe won the comparison: loss")


def diverging_plain(request, p):
    return math.nan if request.recipe in PLAIN.values() else quality(request, p)


@pytest.mark.parametrize("workers", [1, 3])
def test_where_plain_diverges_the_search_goes_on_and_the_first_line_says_so(workers):
    search, clock, book = simulate(Budget(seconds=3600), diverging_plain, workers)
    data = result(search, Budget(seconds=3600))
    assert data["headline"].startswith("Plain training fails (infeasible: diverged); delivered is ")
    assert data["delivered"]["what"] == "final" and search.final().request.recipe not in PLAIN.values()
    assert len(search.trials.of(Purpose.BASELINE)) == 2 and search.failure is None
    reached = {search._ladder.rung(record) for record in search.trials if record.purpose is Purpose.SEARCH}
    assert reached == set(range(len(search.plan.ladder)))
    assert 0.95 * 3600 < clock.now() <= 3600
    assert replay(make(Budget(seconds=3600)), book.entries) == ([], [])


def test_without_plain_a_sampler_learns_values_around_the_median():
    search, _, _ = simulate(Budget(seconds=3600), diverging_plain)
    lowest = search._ladder.on(0)
    values = [search._ladder.normalized(record, record.final) for record in lowest]
    assert values == sorted(values) and min(values) < 0 < max(values)


def test_where_nothing_trains_plain_is_not_trained_again_and_again():
    search, _, _ = simulate(Budget(seconds=3600), lambda request, p: math.nan)
    recipes = [record.request.recipe for record in search.trials]
    assert delivery(search) == ("nothing", None)
    assert all(recipes.count(recipe) == 1 for recipe in PLAIN.values())


def test_the_final_training_of_a_run_without_a_search_is_what_the_space_recommends():
    search, _, _ = simulate(Budget(seconds=6))
    assert not search.plan.ladder and search.final().request.origin.startswith("portfolio ")
    data = result(search, Budget(seconds=6))
    origin = search.final().request.origin
    assert data["headline"].startswith(
        f"The budget leaves no room to compare with plain; delivered is {origin}: loss"
    )
    assert f"search: none fits; {origin} is trained with the whole budget" in data["plan"]


def test_plain_is_trained_where_what_the_space_recommends_fails():
    def table(request, p):
        return quality(request, p) if request.recipe in PLAIN.values() else math.nan

    search, _, _ = simulate(Budget(seconds=6), table)
    first, second = search.trials.of(Purpose.FINAL)
    assert first.request.origin.startswith("portfolio ") and search.final() is second
    assert second.request.recipe in PLAIN.values()
