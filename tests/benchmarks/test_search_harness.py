"""The search benchmark keeps its results, goes on where it was stopped, and says what they are."""

import json
import math
import re

import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.jobs import attempt
from benchmarks.search import __main__ as command
from benchmarks.search.harness import Case, play, read
from benchmarks.search.page import tables, write_page
from benchmarks.search.statistics import mean, rows


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Run the command on two tasks with two seeds."""
    monkeypatch.setattr(command, "KEPT", tmp_path / "kept")

    def run(*more):
        given = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--suite", "synthetic", "--seeds", "2"]
        chosen = ["--tasks", "s0,s1", "--budgets", "1,2", "--methods", "asha,default"]
        return CliRunner().invoke(command.app, [*given, *chosen, *more])

    return run


def test_it_goes_on_where_it_was_stopped(bench, tmp_path):
    assert bench().exit_code == 0
    results = tmp_path / "out" / "results.jsonl"
    lines = results.read_text().splitlines()
    assert len(lines) == 2 * 2 * 2 * 2
    assert set(json.loads(lines[0])) == {"suite", "task", "method", "budget", "seed", "regret", "seconds"}
    found = read(results)
    seeds = [json.loads(line)["seed"] for line in lines]
    assert seeds == sorted(seeds), "the first results cover all tasks, budgets and methods"
    results.write_text("\n".join(lines[:5]) + '\n{"suite": "synth')
    assert bench().exit_code == 0
    assert read(results) == found
    before = results.read_text()
    assert bench().exit_code == 0
    assert results.read_text() == before
    assert "asha" in (tmp_path / "out" / "index.html").read_text()


def test_a_case_that_fails_says_why_and_stops_no_other(tmp_path):
    assert attempt(play, Case("synthetic", "s99", "asha", 1.0, 0), tmp_path, tmp_path) == "KeyError: 's99'"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--methods", "asha,ahsa"), "'ahsa' is not one of autoaccel"),
        (("--tasks", "s99"), "'s99' is not one of s0"),
        (("--budgets", "0,1"), "0 is not above 0"),
        (("--budgets", "one"), "accepted are numbers by comma"),
    ],
)
def test_what_is_not_understood_is_said(bench, given, said):
    result = bench(*given)
    assert result.exit_code == 2
    assert said in re.sub(r"[\s│]+", " ", result.output)


def results(**regrets):
    return {
        Case("made", task, method, 1.0, seed): regret + bias
        for method, found in regrets.items()
        for task, bias in (("easy", 0.0), ("hard", 0.5))
        for seed, regret in enumerate(found)
    }


def test_errors_are_over_seeds_and_not_over_tasks():
    found = mean({(task, seed): bias + 0.1 * seed for task, bias in (("a", 0), ("b", 9)) for seed in range(2)})
    assert found.value == pytest.approx(4.55)
    assert found.error == pytest.approx(math.sqrt(2 * 0.005 / 2) / 2)


def test_differences_are_paired_and_to_the_best_peer():
    found = rows(results(autoaccel=(0.1, 0.5), asha=(0.2, 0.6), random=(0.3, 0.7), default=(0.4, 0.4)), "made")
    own = found[0]
    assert (own.method, own.rival) == ("autoaccel", "asha")
    assert (own.difference.value, own.difference.error) == (pytest.approx(-0.1), pytest.approx(0, abs=1e-9))
    assert own.worse == 0.5


def test_a_page_has_the_figures_of_the_table():
    found = results(autoaccel=(0.1, 0.5), asha=(0.2, 0.6))
    page, console = write_page(found), Console(record=True, width=120)
    for table in tables(found):
        console.print(table)
    for text in (page, console.export_text()):
        assert "0.550 ± 0.141" in text
        assert "-0.100 ± 0.000" in text
    assert "src=" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
