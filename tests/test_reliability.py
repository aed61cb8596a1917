"""The table in docs/reliability.md names tests that exist, and every fault that is done to Optuna and Ray Tune."""

import ast
import re
from pathlib import Path

import pytest

from benchmarks.faults.peers import FAULTS

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines() if line[:3] > "| 0"]
ROWS = [row for row in ROWS if row[0].isdigit()]


def test_there_are_25_faults():
    assert [int(row[0]) for row in ROWS] == list(range(1, 26))
    assert all(len(row) == 7 and all(row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_test_of_the_table_exists(row):
    names = re.findall(r"`([^`]+)`", row[3])
    assert names or row[4].startswith("no test yet")
    for name in names:
        file, _, function = name.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        assert function in {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}, name


def test_each_fault_of_the_peers_is_in_its_row():
    told = {name: int(row[0]) for row in ROWS for name in re.findall(r"`(\w+)`", row[5])}
    assert told == {name: fault.row for name, fault in FAULTS.items() if not name.startswith("ray_")}
    told = {name: int(row[0]) for row in ROWS for name in re.findall(r"`(\w+)`", row[6])}
    tree = ast.parse((TESTS.parent / "benchmarks" / "faults" / "ray_trials.py").read_text())  # Ray is not installed
    done = [part for part in tree.body if isinstance(part, ast.FunctionDef) and part.decorator_list]
    assert told == {part.name: part.decorator_list[0].args[0].value for part in done}
