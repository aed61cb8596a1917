"""The benchmark on real trainings keeps its budget, goes on where it was stopped, and says what it found."""

import json
from random import Random

import pytest
from typer.testing import CliRunner

from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Finish, Finished, Profiled, Start, Stop
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind
from benchmarks.jobs import attempt
from benchmarks.recipes import __main__ as command
from benchmarks.recipes.harness import Case, Clocks, cases, play, read
from benchmarks.recipes.methods import METHODS, drive, problem_of
from benchmarks.recipes.page import tables, write_page
from benchmarks.recipes.statistics import found, standings
from benchmarks.recipes.tasks import TASKS
from benchmarks.recipes.trainer import Trainer


@pytest.fixture
def trainer(tmp_path):
    """Trains digits for six seconds of wall-clock time."""
    task = TASKS["digits"]
    return Trainer(task.make(tmp_path), task.space, 6.0, SystemClock(), tmp_path)


@pytest.mark.parametrize(("method", "budget"), [("autoaccel", 4.0), ("asha", 4.0), ("tpe", 4.0)])
def test_a_run_delivers_a_model_at_its_deadline(method, budget, tmp_path):
    row = play(Case("digits", method, budget, Clocks.PROCESSOR, 0), tmp_path, tmp_path)
    assert row["begun"] < row["seconds"] < 1.2 * budget
    assert row["trainings"] >= (1 if method == "autoaccel" else 4)
    assert row["test"] > 0.8 and row["length"] < budget
    json.dumps(row)
    if method == "autoaccel":
        assert row["third"] > 0.5
        assert "final" in (tmp_path / "trials" / "digits-processor-4-0.csv").read_text()


def test_peers_begin_with_the_default_and_then_the_known_good_recipes(trainer):
    problem = problem_of(trainer, 0, 1.0)
    source = Random(0)
    numbers = [problem.sample(source)["recipe"] for _ in range(30)]
    origins = [origin for _, origin in problem.recipes]
    assert problem.recipes[problem.default["recipe"]][0] == PLAIN["plain"]
    assert numbers == list(range(1, 31))
    known = [origin for origin in origins if origin.startswith("portfolio")]
    assert 1 < len(known) < 30
    assert origins == ["plain", *known, *["random"] * (30 - len(known))]


def test_a_search_may_stop_a_training(trainer):
    class Stops:
        """Starts one training and stops it at its first milestone."""

        ended, progress = None, ()

        def handle(self, event, now):
            if isinstance(event, Profiled):
                return [Start(trainer.request(0, PLAIN["plain"], 5.0, 0, full=True))]
            if isinstance(event, Finished):
                self.ended = event.outcome
                return [Finish()]
            self.progress += (event.report.progress,)
            return [Stop(0)]

    search = Stops()
    drive(search, trainer)
    assert search.ended.kind is OutcomeKind.PRUNED
    assert len(search.progress) == 1 and search.progress[0] < 1.0


def _row(method, seed, test, third=None):
    case = {"task": "table", "method": method, "budget": 9.0, "clock": "wall", "seed": seed}
    more = {"third": third} if method == "autoaccel" else {}
    return case | {"metric": "loss", "maximize": False, "test": test} | more


def test_differences_are_paired_by_seed_and_a_smaller_loss_is_better(tmp_path):
    path = tmp_path / "results.jsonl"
    rows = [_row("autoaccel", 0, 1.0, 1.4), _row("autoaccel", 1, 2.0, 2.9), _row("autoaccel", 2, 9.0, 9.0)]
    rows += [_row("plain", 0, 1.5), _row("plain", 1, 2.5), _row("asha", 0, 0.9), _row("asha", 1, 2.2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"task": "tab')
    results = read(path)
    (table,) = found(results)
    by = {line.method: line for line in table.lines}
    assert [(line.method, line.middle) for line in table.lines] == [
        ("asha", 1.55),
        ("autoaccel", 2.0),
        ("plain", 2.0),
    ]
    assert (by["plain"].better, by["plain"].error, by["plain"].wins) == (0.5, 0.0, 2)
    assert by["asha"].better == pytest.approx(0.05) and (by["asha"].wins, by["asha"].losses) == (1, 1)
    assert by["autoaccel"].better is None
    assert table.reached == (1, 2), "1.4 is as good as 1.5, 2.9 is not as good as 2.5"
    assert [table.row_count for table in tables(results)] == [3, 3]
    places = {one.method: (one.place, one.behind, one.ahead) for one in standings([table])}
    assert places == {"asha": (0.25, 0, 1), "autoaccel": (0.25, 0, 0), "plain": (1.0, 0, 0)}
    page = write_page(results)
    assert "table, 9 s (wall)" in page and "+0.5000 ± 0.0000" in page


def test_cases_come_seed_by_seed_and_nothing_is_recommended_where_nothing_is_known():
    made = cases(["digits", "own-table"], ["plain", "portfolio-first"], 9.0, Clocks.WALL, 2)
    assert [(case.seed, case.task, case.method) for case in made[:3]] == [
        (0, "digits", "plain"),
        (0, "digits", "portfolio-first"),
        (0, "own-table", "plain"),
    ]
    assert len(made) == 6


def test_a_run_that_fails_says_why(tmp_path):
    assert attempt(play, Case("digitz", "plain", 9.0, Clocks.WALL, 0), tmp_path, tmp_path) == "KeyError: 'digitz'"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--methods", "plain,plian"), "'plian' is not one of autoaccel"),
        (("--task", "digitz"), "'digitz' is not one of digits"),
        (("--budget", "2e12 FLOPs"), "is not a time; accepted are 60s, 5m"),
        (("--budget", "60"), "60"),
        (("--clock", "sundial"), "'sundial' is not one of"),
    ],
)
def test_wrong_options_say_what_is_accepted(given, said, tmp_path):
    shown = CliRunner().invoke(command.app, ["--out", str(tmp_path), *given], env={"COLUMNS": "300"})
    assert shown.exit_code == 2
    assert said in shown.output


@pytest.mark.slow
def test_the_command_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "KEPT", tmp_path / "kept")
    given = [
        "--task",
        "digits",
        "--methods",
        "plain,random",
        "--budget",
        "2s",
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert CliRunner().invoke(command.app, given).exit_code == 0
    results = tmp_path / "results.jsonl"
    lines = results.read_text().splitlines()
    assert {json.loads(line)["method"] for line in lines} == {"plain", "random"}
    results.write_text(lines[0] + "\n" + lines[1][:40])
    assert CliRunner().invoke(command.app, given).exit_code == 0
    assert len(read(results)) == 2
    assert results.read_text().startswith(lines[0])
    assert "digits, 2 s (wall)" in (tmp_path / "index.html").read_text()
    assert set(METHODS) > {"plain", "random"}
