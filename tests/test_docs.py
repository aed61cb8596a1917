"""The examples of docs/data-and-losses.md run, and say what the page says that they say."""

import math
import re
from pathlib import Path

import pytest

from autoaccel import Task
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.training.rehearsal import rehearse
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

pytestmark = [
    pytest.mark.filterwarnings("default"),  # transformers and torch warn about each other
    pytest.mark.usefixtures("one_thread"),
]
PAGE = (Path(__file__).parents[1] / "docs" / "data-and-losses.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
START, *CODE = [body for language, body in BLOCKS if language == "python"]
REFUSED = re.findall(r"^\| `(Task\(.*\))` \| (.*) \|$", PAGE.partition("## What is refused")[2], re.MULTILINE)


def names():
    found = {"__name__": "model"}
    exec(START, found)
    return found


def lines_below(code):
    """Return the lines that `check` is said to print for an example."""
    place = BLOCKS.index(("python", code)) + 1
    return BLOCKS[place][1].splitlines() if place < len(BLOCKS) and BLOCKS[place][0] == "text" else []


@pytest.mark.parametrize("number", range(len(CODE)))
def test_an_example_is_understood_as_it_says_and_trains(number, tmp_path):
    if "transformers" in CODE[number]:
        pytest.importorskip("transformers")
    found = names()
    exec(CODE[number], found)
    task = found["task"]
    lines = rehearse(task, seed=0, cpu=True).lines()
    assert set(lines_below(CODE[number])) <= set(lines), lines
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, tmp_path, cpu=True)
    outcome = run_trial(task, TrialRequest(0, PLAIN["plain"], Budget(steps=3)), environment)
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    assert math.isfinite(outcome.final.loss)


@pytest.mark.parametrize(("code", "message"), REFUSED)
def test_what_is_refused_says_why(code, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        rehearse(eval(code, names()), seed=0, cpu=True)


def test_each_field_of_a_task_has_an_example():
    shown = "".join(CODE) + "".join(code for code, _ in REFUSED)
    missing = [name for name in Task.__dataclass_fields__ if f"{name}=" not in shown]
    assert sorted(missing) == ["flips", "model", "space", "where"]


def test_links_within_the_page_resolve():
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors
