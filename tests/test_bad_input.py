"""Bad input gives one line that says what is accepted, an exit code, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoaccel import api, cli
from autoaccel.core.budget import Budget, parse_budget
from autoaccel.core.target import slug
from autoaccel.errors import StoreError, UsageError
from autoaccel.storage.choice import choose_folder
from autoaccel.storage.folder import RunFolder
from autoaccel.tuner.options import Options

LONG = "x" * 300
MODEL = """
import torch
from torch import nn
from autoaccel import Task
task = Task(model=lambda: nn.Linear(2, 1), train=(torch.randn(80, 2), torch.randn(80, 1)))
"""
BAD = [
    ("tune m.py --budget 9999999999999999h", 2, "at most 3650 d, got '9999999999999999h'"),
    ("tune m.py --budget 1e400h", 2, "not understood"),
    (f"tune m.py --budget {'9' * 5000}d", 2, "not understood"),
    ("tune m.py --flops 1e400", 2, "positive and finite"),
    ("tune m.py --flops 1e200", 2, "at most 1e+09 ZFLOPs"),
    ("train m.py --recipe plain --steps nan", 2, "positive and finite, got nan steps"),
    ("plan m.py --budget 9999999999999999h", 2, "at most 3650 d"),
    (f"tune m.py --budget 9s --out {LONG}", 2, "File name too long"),
    (f"tune m.py --budget 9s --out new/parents/{LONG}", 5, "File name too long"),
    ("tune m.py --budget 9s --out m.py/run", 5, "Not a directory"),
    (f"tune m.py --budget 9s --warm-start {LONG}", 2, "File name too long"),
    (f"train m.py --recipe plain --steps 5 --reference {LONG}", 2, "File name too long"),
    (f"train m.py --recipe {LONG} --steps 5", 2, "no recipe"),
    (f"tune m.py --budget 9s --space {LONG}", 2, "no search space"),
    (f"tune {LONG}.py --budget 9s", 2, "File name too long"),
    ("tune \udcff.py --budget 9s", 2, "not UTF-8"),
    ("tune m.py --budget 9s --out \udcff", 2, "not UTF-8"),
    ("init no/such/model.py", 2, "'no/such/model.py' cannot be written: No such file"),
    (f"init {LONG}.py", 2, "File name too long"),
    ("init m.py", 2, "exists already"),
    ("tune m.py --budget 9s --seed -1", 2, "--seed must be a whole number from 0 to 2147483647, got -1"),
    ("train m.py --recipe plain --steps 5 --seed 4294967296", 2, "from 0 to 2147483647"),
    ("plan m.py --budget 9s --seed -1", 2, "from 0 to 2147483647"),
    (f"report {LONG}", 2, "File name too long"),
    ("report m.py", 2, "holds no run"),
    ("report .", 2, "holds no run"),
    ("export nothing", 2, "holds no run"),
    ("export m.py", 2, "holds no run"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.py").write_text(MODEL)
    return tmp_path


@pytest.mark.parametrize("case", BAD, ids=lambda case: ascii(case[0])[:60])
def test_one_line_and_nothing_left(case, folder, monkeypatch, capsys):
    command, code, said = case
    monkeypatch.setattr(sys, "argv", ["autoaccel", *command.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (code, "")
    assert err.startswith("error: ") and said in err and err.count("\n") == 1 and len(err) < 700
    assert [path.name for path in folder.iterdir()] == ["m.py"]


def test_folders_made_for_a_run_that_never_was_are_removed(folder):
    (folder / "bad.py").write_text("import no_such_module\n")
    (folder / "kept").mkdir()
    for out in ("new/parents/run", "kept/run"):
        command = [sys.executable, "-m", "autoaccel.cli", "tune", "bad.py", "--budget", "60s", "--out", out]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 3 and "no_such_module" in ended.stderr
    assert sorted(path.name for path in folder.rglob("*") if path.is_dir() and path.name != "__pycache__") == [
        "kept"
    ]


def test_a_recipe_that_makes_no_sense_is_refused_before_the_task_is_tried(folder):
    (folder / "mine.yaml").write_text(
        "optimizer: {name: adamw, lr: -1}\nbatch_size: {name: constant_batch, size: 1:30}"
    )
    with pytest.raises(UsageError) as caught:
        api.train("m.py", "mine.yaml", "60s", out="new/run", devices="cpu", quiet=True)
    assert str(caught.value).splitlines()[1:] == [
        "  adamw.lr = -1 makes no sense; accepted is more than 0",
        "  constant_batch.size = '1:30' is not a number",
    ]
    assert not (folder / "new").exists()


def test_a_month_is_a_budget(folder):
    options = Options(devices="cpu")
    assert any("30 d after the start" in line for line in api.plan("m.py", parse_budget("30d"), options=options))


def test_budgets_in_python_are_checked_alike():
    for amount in (float("inf"), 10**400, -(10**400), 1e31, 0, True, "4h"):
        with pytest.raises(UsageError, match=r"^a budget "):
            Budget(steps=amount)
    with pytest.raises(UsageError, match="at most 3650 d"):
        Budget(seconds=1e12)


def test_a_run_that_is_open_is_said_to_be_in_use(folder):
    run = RunFolder(folder / "runs" / "m")
    run.write("config.json", "{}")
    for out in (run.path, None):
        with pytest.raises(StoreError, match="is in use by"):
            choose_folder(out, "m", resume=False)
    run.close()
    for out in (run.path, None):
        with pytest.raises(UsageError, match="add --resume"):
            choose_folder(out, "m", resume=False)


def test_the_name_of_a_run_folder_fits_a_file_system():
    assert len(os.fsencode(slug("\U00020000" * 200 + ".py") + "-train-100")) < 256
