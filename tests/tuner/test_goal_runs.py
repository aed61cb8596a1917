"""Whole runs with a target, constraints or a second objective."""

import csv
import html
import io

import pytest
import torch
from sample_run import complete, entries
from torch import nn

from autoaccel import Result, Task, tune
from autoaccel.cli_result import show
from autoaccel.core.recipe import Recipe
from autoaccel.core.records import Trials
from autoaccel.errors import ConstraintError, TaskError, UsageError
from autoaccel.export.formats import export
from autoaccel.reporting.html import write_report
from autoaccel.reporting.result import result_lines
from autoaccel.search.optuna_sampler import tpe
from autoaccel.storage.records import RunRecord, read_record
from autoaccel.tuner.options import Options

WIDTHS = [16, 64]
"""With as many FLOPs, a model of a width of 4 would take 100 times as many steps as one of 64, for minutes."""


def net(width=64):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def task(**changes):
    x = torch.rand(800, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0.5).long()
    return Task(
        **{"model": net, "train": (x, y), "test": (x[:100], y[:100]), "space": {"width": WIDTHS}, **changes}
    )


def run(folder, budget="2e9 FLOPs", given=None, **options):
    return tune(given or task(), budget, executor="inline", out=folder, memory=False, quiet=True, **options)


def widths(result):
    return [row["recipe"]["model"].get("width", 64) for row in result.front]


def test_a_run_ends_when_the_target_is_reached(tmp_path):
    result = run(tmp_path / "run", target="accuracy=0.8")
    aim = result.data["aim"]
    assert aim["reached"] and aim["found"] - 1.645 * aim["standard_error"] >= 0.8
    assert result.data["headline"].startswith(f"Target reached beyond the noise: accuracy {aim['found']:.4g}")
    assert "target accuracy 0.8" in result.data["headline"] and result.data["final"] is None
    spent = sum(cost["flops"] for cost in result.data["spent"].values())
    assert spent < 0.5 * 2e9 and result.data["delivered"]["test"]["metric"] > 0.7
    assert Result.load(tmp_path / "run", task()).model()(torch.rand(3, 8)).shape == (3, 2)


def test_a_target_that_is_not_reached_is_said(tmp_path):
    result = run(tmp_path / "run", "1e9 FLOPs", target="accuracy=2")
    assert result.data["headline"].startswith("Target not reached for sure: accuracy ")
    assert not result.data["aim"]["reached"] and result.data["final"]
    assert "plain" in result.data["evidence"]


@pytest.mark.slow
def test_a_size_is_kept_and_shown_everywhere(tmp_path, one_thread):
    result = run(tmp_path / "run", budget="6e8 FLOPs", space="minimal", subject_to="size_mb<=0.008", max_epochs=3)
    (found,) = result.data["constraints"]
    delivered = result.data["delivered"]["trial"]
    assert found["kept"] and found["value"] == (tmp_path / "run" / "model.safetensors").stat().st_size / 1e6
    assert result.best_recipe.model.get("width", 64) < 64 or "quantization" in result.best_recipe.techniques
    rows = list(csv.DictReader((tmp_path / "run" / "trials.csv").read_text().splitlines()))
    assert float(rows[delivered]["size_mb"]) == found["value"] < float(rows[0]["size_mb"])
    assert "size_mb<=0.008: kept, it is" in html.unescape((tmp_path / "run" / "report.html").read_text())
    assert any(line.startswith("size_mb<=0.008: kept") for line in result_lines(result.data, result.folder))
    assert not any(
        "portfolio" in row["origin"] for row in rows
    )  # they train the model as it is, which is too large
    show(result, as_json=True)


def test_what_nothing_keeps_is_the_first_line_and_the_exit_code(tmp_path, capsys):
    result = run(tmp_path / "run", "1e9 FLOPs", subject_to=["size_mb<=0.0001", "recall>=0"])
    value = (tmp_path / "run" / "model.safetensors").stat().st_size / 1e6
    first = f"NO MODEL KEEPS THE CONSTRAINTS: the delivered one breaks size_mb<=0.0001 (it is {value:.4g})."
    assert result.data["headline"] == first
    with pytest.raises(ConstraintError) as caught:
        show(result, as_json=False)
    assert caught.value.exit_code == 7 and capsys.readouterr().out.startswith("NO MODEL KEEPS")


@pytest.mark.slow
def test_a_front_can_be_taken_apart(tmp_path, one_thread):
    result = run(tmp_path / "run", budget="6e8 FLOPs", space="minimal", objective="quality,size", max_epochs=3)
    front, folder = result.front, tmp_path / "run"
    # (one model may be the best in both)
    assert front and result.data["objective"] == ["quality", "size_mb"]
    assert [row["size_mb"] for row in front] == sorted((row["size_mb"] for row in front), reverse=True)
    for row in front:
        path = folder / "trials" / f"{row['trial']:04d}" / "model.safetensors"
        assert path.stat().st_size / 1e6 == row["size_mb"]
        assert Result.load(folder, task()).model(row["trial"])(torch.rand(3, 8)).shape == (3, 2)
    smallest = front[-1]
    assert (
        Recipe.from_yaml(export(read_record(folder), "yaml", smallest["trial"]), "it").to_data()
        == smallest["recipe"]
    )
    assert front[-1]["size_mb"] < 0.5 * float(
        next(csv.DictReader((folder / "trials.csv").read_text().splitlines()))["size_mb"]
    )
    page = (folder / "report.html").read_text()
    assert "<h2>Front</h2>" in page and "--trial N" in page
    lines = result_lines(result.data, folder)
    assert sum(line.startswith("  trial ") and "  0." in line for line in lines) >= len(front)
    with pytest.raises(UsageError, match="the model of trial 999 was not kept; those of the front are: "):
        result.model(999)


def test_a_trial_that_is_not_there_is_not_exported():
    record = RunRecord({"target": "x"}, Trials([*entries(), (5.0, complete(1))]), 5.0, {})
    assert "adamw" in export(record, "yaml", 1)
    with pytest.raises(UsageError, match="--trial 7: this run has the trials 0 to 1"):
        export(record, "yaml", 7)
    assert io.StringIO and write_report(record)


def test_goals_that_a_task_does_not_allow_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(UsageError, match="the metric of this task is accuracy"):
        run(tmp_path / "run", target="f1=0.5")
    with pytest.raises(TaskError, match="--subject-to recal: unknown metric"):
        run(tmp_path / "run", subject_to="recal>=0.5")
    with pytest.raises(UsageError, match="mean of 3 folds"):
        run(tmp_path / "run", objective="quality,size", given=task(folds=3))
    with pytest.raises(UsageError, match="latency_ms depends on the machine"):
        run(tmp_path / "run", objective="quality,latency")
    assert not (tmp_path / "run").exists()


def test_goals_need_a_search_that_knows_them():
    with pytest.raises(UsageError, match="need the search halving, not dict"):
        Options(target="loss=1", search=dict).resources()
    with pytest.raises(UsageError, match="needs the sampler mixed: TPESampler"):
        Options(objective="quality,size", sampler=tpe(0)).resources()
    assert Options(subject_to="size_mb<=1", sampler=tpe(0)).resources().measure == ("size_mb",)


def test_a_run_is_resumed_with_the_goal_that_it_began_with(tmp_path):
    run(tmp_path / "run", "1e9 FLOPs", subject_to="size_mb<=1")
    with pytest.raises(UsageError, match=r"(?s)not what it was begun with.*goal: "):
        run(tmp_path / "run", "1e9 FLOPs", subject_to="size_mb<=2", resume=True)
    again = run(tmp_path / "run", "1e9 FLOPs", subject_to="size_mb<=1", resume=True)
    assert again.data["constraints"][0]["kept"]
