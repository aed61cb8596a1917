"""The README agrees with the code."""

import re
from pathlib import Path

import torch
from torch import nn
from typer.main import get_command

from autoaccel.cli import app
from autoaccel.training.data.task import Task

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    fenced = [part.partition("\n") for part in README.split("```")[1::2]]
    return [body for name, _, body in fenced if name == language]


def test_the_task_of_the_readme_is_one():
    x, y = torch.rand(20, 4), torch.arange(20) % 2
    names = {"Net": lambda dropout: nn.Linear(4, 2), "x": x, "y": y, "x_test": x, "y_test": y}
    exec(blocks("python")[0], names)
    assert isinstance(names["task"], Task)


def test_every_option_of_the_readme_exists():
    commands = get_command(app).commands
    text = next(block for block in blocks("") if "autoaccel tune MODEL" in block)
    for name in ("tune", "plan", "train", "report", "export", "check", "profile", "spaces", "init"):
        assert f"autoaccel {name}" in text or f"| {name}" in text
        assert name in commands
    every = [part for command in commands.values() for part in getattr(command, "commands", {"": command}).values()]
    accepted = {option for command in every for p in command.params for option in p.opts} | {"--version"}
    assert set(re.findall(r"--[a-z-]+", text)) <= accepted


def test_each_form_of_a_task_has_an_example_and_files_that_are_compared_with_loops_by_hand():
    """The page's examples are run by test_docs.py, the files by tests/users."""
    page = (ROOT / "docs" / "data-and-losses.md").read_text()
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^##+ (.*)$", re.sub(r"[:',]", "", page), re.M)}
    rows = re.findall(r"^\| \[.*\]\(docs/data-and-losses\.md#(.*?)\) \|.*\| (.*) \|$", README, re.M)
    assert len(rows) >= 12
    for anchor, files in rows:
        assert anchor in headings
        for name in files.split(", "):
            assert (ROOT / "tests" / "users" / "models" / f"{name.strip('`')}.py").is_file(), name


def test_exit_codes_of_the_readme_are_those_of_the_errors():
    from autoaccel import errors

    codes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and hasattr(cls, "exit_code")}
    told = set(map(int, re.findall(r"(\d+) [a-z]", README[README.index("Exit codes") :])))
    assert codes - {1} <= told
