"""The result of simulated runs: what is delivered, and what its first line claims."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from simulation import FACTS, make, quality, simulate

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Finished, Interrupted, Profiled, Reported
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.reporting.result import optimism_lines, result_lines
from autoaccel.search.base import Expectation
from autoaccel.storage.folder import RunFolder, json_text
from autoaccel.storage.log import Log, read_log
from autoaccel.tuner.claim import headline, optimism, whole_data
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay
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


@pytest.fixture(scope="module")
def run():
    """A run whose final training reaches a loss of about 1.3 where plain, with all of its time, would reach 2.05."""
    search, _, _ = simulate(Budget(seconds=600))
    return search, result(search, Budget(seconds=600))


def test_the_first_line_is_about_the_whole_budget_and_the_second_about_equal_trials(run):
    _, data = run
    whole, final = data["comparison"]["whole"], data["final"]["validation"]["metric"]
    plain = whole["plain"]
    assert whole["final"] == final < plain["low"] < 2 + 1 / math.sqrt(600) < plain["high"] and not whole["measured"]
    expected = f"{plain['metric']:.4g} ({plain['low']:.4g} to {plain['high']:.4g})"
    first, second = result_lines(data, Path("run"))[:2]
    assert first == (
        f"Better than plain: loss {final:.4g} on validation; "
        f"plain is expected to reach {expected} with the same whole budget."
    )
    ours = data["comparison"]["winner"]["metric"]
    assert second.startswith(f"In trials of equal budget: loss {ours:.4g} against 2.")
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize(
    ("low", "high", "measured", "text"),
    [
        (2.0, 3.0, False, "Better than plain: loss {:.4g} on validation; plain is expected to reach 1.5 (2 to 3)"),
        (
            1.0,
            2.0,
            False,
            "Perhaps no better than plain: loss {:.4g} on validation; plain is expected to reach 1.5",
        ),
        (0.5, 1.0, False, "Probably worse than plain: loss {:.4g} on validation; plain is expected to reach 1.5"),
        (0.5, 1.0, True, "Probably worse than plain: loss {:.4g} on validation; plain reached 1.5 (0.5 to 1)"),
    ],
)
def test_what_the_first_line_claims_of_the_whole_budget(run, low, high, measured, text):
    search, data = run
    expected = Expectation(Budget(seconds=590), 1.5, low, high, measured)
    compared = {**data["comparison"], "whole": whole_data(expected, search.final())}
    final = search.final().final.metric
    line = headline(search.trials, compared, search.final())
    assert line.startswith(text.format(final)) and line.endswith(" with the same whole budget.")
    assert " with the same 9 min 50 s." in headline(search.trials, compared, search.final(), "interrupted")


def test_a_gain_in_short_trainings_is_not_a_claim_about_the_whole_budget(run):
    search, data = run
    line = headline(search.trials, {**data["comparison"], "whole": None}, search.final())
    assert line.startswith("Better than plain in short trainings: loss 1.")
    assert line.endswith("; plain's value with the whole budget is not known.")


def test_how_much_too_good_the_validation_score_is_stands_in_the_result():
    validation, test = {"metric": 0.984, "standard_error": 0.003}, {"metric": 0.98, "standard_error": 0.004}
    found = optimism(validation, test)
    assert found == pytest.approx({"difference": 0.004, "standard_error": 0.005})
    (line,) = optimism_lines("accuracy", {"optimism": found})
    assert line.startswith("Validation minus test: accuracy +0.004 (standard error 0.005)")
    assert optimism(validation, {"metric": 0.98, "standard_error": None})["standard_error"] is None
    assert optimism(validation, None) is None and optimism(validation, {"metric": None}) is None
    assert optimism_lines("accuracy", None) == optimism_lines("accuracy", {"optimism": None}) == []


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
    asked = Interrupted()
    loop = Loop(search, executor, clock, [], lambda: asked if clock.now() >= seconds else None, patience=5.0)
    loop.run([Profiled(FACTS)])
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
    assert reached >= {0, 1}
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
