"""Run folders, recipes and search spaces of schema 1 are still read."""

import json
from pathlib import Path

import pytest

from autoaccel.core.budget import Budget
from autoaccel.core.recipe import Recipe
from autoaccel.errors import UsageError
from autoaccel.export.formats import export
from autoaccel.reporting.html import write_report
from autoaccel.search.base import SearchSettings
from autoaccel.search.halving import HalvingSearch
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.log import read_log
from autoaccel.storage.records import read_record
from autoaccel.techniques.registry import catalog
from autoaccel.tuner.replay import replay
from autoaccel.tuner.result import Result

OLD = Path(__file__).parent / "run_v1"
"""Written by the version before: digits with a budget of 300 GFLOPs, seed 7."""


def test_an_old_run_is_read():
    record = read_record(OLD)
    assert record.facts.metric == "log_loss" and "image" in record.facts.capabilities
    assert record.facts.train.flops > 0 and record.facts.evaluation.seconds > 0 and record.facts.setup.seconds > 0
    assert [trial.state for trial in record.trials] == ["complete"] * 4 + ["pruned"] * 2 + ["complete"]
    written = json.loads((OLD / "result.json").read_text())
    final = record.trials[6].final
    assert final.metric == written["final"]["validation"]["metric"]
    assert final.standard_error == written["final"]["validation"]["noise"]
    assert record.trials.spent().flops == pytest.approx(
        sum(written["spent"][phase]["flops"] for phase in ("baseline", "search", "final"))
    )


def test_an_old_run_is_shown_and_exported():
    record = read_record(OLD)
    assert "portfolio" not in record.trials[2].request.origin  # the words of its time are kept
    page = write_report(record)
    assert "Better than plain" in page and "0.0213" in page  # the winner's standard error
    assert Recipe.from_yaml(export(record, "yaml")) == Recipe.from_yaml((OLD / "recipe.yaml").read_text())


def test_an_old_result_has_todays_names():
    result = Result.load(OLD)
    assert result.data["delivered"]["standard_error"] == pytest.approx(0.03197, abs=1e-4)
    assert "noise" not in json.dumps(result.data)
    assert len(result.leaderboard()) == 5


def test_an_old_log_replays():
    """The search decides today what it decided then, up to the last trial."""
    entries = read_log(OLD / "events.log")
    settings = SearchSettings(SearchSpace.load("vision", catalog()), Budget(flops=3e11), seed=7, reserve=0.0)
    search = HalvingSearch(settings)
    assert replay(search, entries) == ([], [])
    assert search.final().number == 6


@pytest.mark.parametrize("schema", ["schema: 1\n", ""])
def test_an_old_space_is_read(tmp_path, schema):
    path = tmp_path / "mine.yaml"
    path.write_text(schema + "extends: tabular\nknown_good:\n  mine: {optimizer: {name: adamw, lr: 0.003}}\n")
    assert list(SearchSpace.load(str(path), catalog()).portfolio) == ["mine"]


def test_a_space_of_today_has_a_portfolio(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("schema: 2\nextends: tabular\nknown_good: {}\n")
    with pytest.raises(UsageError, match="known_good: unknown key"):
        SearchSpace.load(str(path), catalog())
    path.write_text("schema: 3\nextends: tabular\n")
    with pytest.raises(UsageError, match="reads schema 1 and 2"):
        SearchSpace.load(str(path), catalog())


@pytest.mark.parametrize("schema", [1, 2])
def test_recipes_of_both_schemas_are_read(schema):
    assert Recipe.from_yaml(f"schema: {schema}\noptimizer: sgd\n").optimizer.name == "sgd"
    with pytest.raises(UsageError, match="schema"):
        Recipe.from_yaml("schema: 3\noptimizer: sgd\n")
