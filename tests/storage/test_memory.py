"""The memory of earlier runs: what its file says, and what becomes of it when things go wrong."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from autoaccel.core.recipe import PLAIN, Choice, Recipe
from autoaccel.errors import StoreError, UsageError
from autoaccel.reporting.memory import memory_lines
from autoaccel.storage.memory import MOST, VARIABLE, KnownRecipe, Sketch, forget, memory_file, read_memory, remember

TABLE = Sketch("table", True, "accuracy", True, samples=3.0, parameters=4.0, budget=6.0)


def known(lr=0.01, task=TABLE, share=0.9, **techniques):
    recipe = Recipe(Choice("muon", {"lr": lr}), PLAIN["plain"].learning_rate, techniques=techniques)
    return KnownRecipe(recipe, task, share, "0.1.0", "2026-11-20")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "memory.jsonl"


def test_what_is_remembered_is_read_back(path):
    entries = [known(0.01, ema={"half_life": 0.02}), known(0.02, share=None)]
    remember(path, entries)
    assert read_memory(path) == (entries, 0)


def test_the_newest_200_are_kept_and_the_same_recipe_on_the_same_task_once(path):
    remember(path, [known(0.001 * i) for i in range(1, MOST + 6)])
    found, _ = read_memory(path)
    assert len(found) == MOST == 200 and found[0] == known(0.001 * 6)
    again = known(0.001 * 100, share=0.5)
    remember(path, [again])
    found, _ = read_memory(path)
    assert len(found) == MOST and found[-1] == again and known(0.001 * 100) not in found


def test_broken_lines_and_those_of_a_newer_version_are_skipped(path):
    remember(path, [known(0.01)])
    newer = json.dumps({"schema": 2, "anything": "else"})
    (good,) = path.read_text().splitlines()
    without = json.loads(good)
    del without["recipe"]
    broken = [
        "{",
        "[1]",
        "\x00\xff",
        json.dumps(without),
        good.replace("0.9", "NaN"),
        good.replace("schema", "scheme"),
    ]
    path.write_text("\n".join([*broken, newer, good, good[: len(good) // 2]]))
    assert read_memory(path) == ([known(0.01)], len(broken) + 2)
    remember(path, [known(0.02)])
    assert path.read_text().splitlines()[:2] == [newer, good]
    assert read_memory(path) == ([known(0.01), known(0.02)], 1)


def test_runs_that_end_at_the_same_time_all_leave_their_recipes(path):
    code = (
        "import sys, pathlib\nfrom test_memory import known, remember\n"
        "for i in range(5): remember(pathlib.Path(sys.argv[1]), [known(float(sys.argv[2]) + i)])\n"
    )
    folder = str(__import__("pathlib").Path(__file__).parent)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r})\n{code}", str(path)]
    processes = [subprocess.Popen([*command, str(start)]) for start in (10, 20, 30)]
    assert [process.wait(100) for process in processes] == [0, 0, 0]
    found, unread = read_memory(path)
    rates = sorted(each.recipe.optimizer.parameters["lr"] for each in found)
    assert rates == [float(start + i) for start in (10, 20, 30) for i in range(5)] and unread == 0


def test_recipes_are_forgotten_by_number_or_all(path):
    remember(path, [known(0.01), known(0.02), known(0.03)])
    forget(path, 2)
    assert read_memory(path)[0] == [known(0.01), known(0.03)]
    for number in (0, 3, -1):
        with pytest.raises(UsageError, match=f"no recipe {number}; `autoaccel memory list` shows 2"):
            forget(path, number)
    forget(path, None)
    assert read_memory(path) == ([], 0)
    forget(path.with_name("missing"), None)
    with pytest.raises(UsageError, match="the memory is off"):
        forget(None, None)


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, "OFF")
    assert memory_file() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path / "here"))
    assert memory_file() == tmp_path / "here"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert memory_file().is_relative_to(tmp_path) and memory_file().name == "memory.jsonl"


def test_without_a_home_nothing_is_written_to_the_working_folder(monkeypatch):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what Python does for a user without a home
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with pytest.raises(StoreError, match="there is no home folder"):
        memory_file()


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "memory.jsonl", tmp_path):
        with pytest.raises(StoreError, match="cannot be read"):
            read_memory(path)
        with pytest.raises(StoreError, match="cannot be"):
            remember(path, [known()])


def test_it_is_listed_as_a_table(path):
    values = replace(TABLE, classes=False, metric="loss", maximize=False)
    lines = memory_lines([known(0.02, ema={}), known(0.3, values, None)], 1, path)
    assert [line.split() for line in lines[:3]] == [
        ["kind", "metric", "error", "/", "plain's", "date", "recipe"],
        ["1", "table,", "classes", "accuracy", "0.9", "2026-11-20", "muon", "0.02,", "linear,", "ema"],
        ["2", "table,", "values", "loss", "better", "2026-11-20", "muon", "0.3,", "linear"],
    ]
    assert lines[3:] == ["lines skipped, since they are broken or of a newer version: 1", f"in {path}"]
    assert memory_lines([], 0, None) == ["the memory is off (AUTOACCEL_MEMORY=off)"]
