"""What users' files do when they are imported, with real processes."""

import sys
from contextlib import closing

import pytest
import torch

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Finished
from autoaccel.core.recipe import PLAIN, Choice, Recipe
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.execution.inline import InlineExecutor
from autoaccel.execution.local.supervisor import Supervisor

HEAD = """
import os, pathlib, sys, threading, torch
from torch import nn
from autoaccel import Task

def note(text):
    with open({notes!r}, "a") as file:
        file.write(f"{{os.getpid()}} {{text}}\\n")

note("import")

def data(count=400):
    note("data")
    return torch.rand(count, 4), torch.arange(count) % 2

def net():
    assert torch.is_grad_enabled() and (sys.argv[1:] == [] or "pytest" in sys.modules)
    note(threading.active_count())
    return nn.Linear(4, 2)

"""
TASK = "task = Task(model=net, train=data())\n"
FUNCTIONS = (
    "def task():\n    note('task')\n    return Task(model=net, train=data, valid=lambda: data(80), test=data)\n"
)


def run(tmp_path, body, executor=Supervisor, trials=2, recipe=PLAIN["plain_constant"]):
    """Profile and train the file; return the profile, outcomes, and what each process has noted."""
    notes = tmp_path / "notes"
    (tmp_path / "model.py").write_text(HEAD.format(notes=str(notes)) + body)
    path = str(tmp_path / "model.py")
    task = TaskRef(path) if executor is Supervisor else path
    with closing(executor(task, Resources(cpu=True), SystemClock(), tmp_path)) as made:
        made.load(None)
        facts, _ = made.profile(None)
        outcomes = {}
        for trial in range(trials):
            made.start(TrialRequest(trial, recipe, Budget(steps=5), test=bool(facts.n_test)))
        while len(outcomes) < trials:
            outcomes |= {e.trial: e.outcome for e in made.poll(0.5) if isinstance(e, Finished)}
    assert all(o.kind is OutcomeKind.COMPLETE for o in outcomes.values()), outcomes[0].reason
    processes = {}
    for line in notes.read_text().splitlines():
        pid, word = line.split()
        processes.setdefault(pid, []).append(word)
    return facts, outcomes, list(processes.values())


@pytest.mark.timeout(100)
@pytest.mark.parametrize("executor", [Supervisor, InlineExecutor])
def test_data_functions_are_called_once(tmp_path, executor):
    facts, outcomes, (template, *_) = run(tmp_path, FUNCTIONS, executor)
    assert template[:5] == ["import", "task", "data", "data", "data"]
    lines = [line.split()[1] for line in (tmp_path / "notes").read_text().splitlines()]
    assert lines.count("data") == 3 and lines.count("task") == lines.count("import") == 1
    assert facts.n_valid == 80 and outcomes[0].final.loss == outcomes[1].final.loss


@pytest.mark.timeout(100)
@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n",
        # The pool that torch computes with: workers that are forked would wait for its threads for good.
        "torch.set_num_threads(2)\n(torch.rand(2000, 2000) @ torch.rand(2000, 2000)).sum()\n",
    ],
)
def test_threads_of_a_file_are_not_forked(tmp_path, start):
    _, outcomes, processes = run(tmp_path, start + FUNCTIONS)
    assert len(processes) == 4 and processes[0] == ["import"]
    assert all(words[:5] == ["import", "task", "data", "data", "data"] for words in processes[1:])
    assert outcomes[0].final.loss == outcomes[1].final.loss


JEMALLOC = """
import ctypes
started = threading.Event()
def named():
    ctypes.CDLL(None).prctl(15, b"jemalloc_bg_thd", 0, 0, 0)  # PR_SET_NAME
    started.set()
    threading.Event().wait()
threading.Thread(target=named, daemon=True).start()
started.wait()
"""


@pytest.mark.timeout(100)
@pytest.mark.skipif(sys.platform != "linux", reason="libraries' threads have names on Linux")
def test_a_thread_that_its_library_can_do_without_is_no_reason_not_to_fork(tmp_path):
    _, _, (template, *workers) = run(tmp_path, JEMALLOC + FUNCTIONS)
    assert template[0] == "import" and "data" in template
    assert len(workers) == 3 and all(set(words) == {"1"} for words in workers)


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    "body",
    [
        "file = None\ndef opened():\n    global file\n    file = open(__file__)\n    return data()\n"
        "task = Task(model=net, train=opened)\n",
        "def moved():\n    x, y = data()\n    try:\n        x.cuda()\n    except AssertionError:\n"
        "        pass\n    return x, y\ntask = Task(model=net, train=moved)\n",
    ],
)
def test_what_cannot_be_shared_is_made_by_each_worker(tmp_path, body):
    _, outcomes, (template, *workers) = run(tmp_path, body)
    assert template == ["import", "data"] and len(workers) == 3
    assert all(words[0] == "data" for words in workers)
    assert outcomes[0].final.loss == outcomes[1].final.loss


@pytest.mark.timeout(100)
@pytest.mark.parametrize("executor", [Supervisor, InlineExecutor])
def test_a_file_may_change_its_folder(tmp_path, monkeypatch, executor):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("")
    monkeypatch.chdir(tmp_path)
    body = "os.chdir('data')\ndef read():\n    open('x').close()\n    return data()\ntask = Task(model=net, train=read)\n"
    run(tmp_path.relative_to(tmp_path), body, executor)
    assert sorted(path.name for path in tmp_path.glob("trials/*/*.safetensors")) == ["model.safetensors"] * 2
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"x", "notes"}  # the file's own


@pytest.fixture
def restored():
    """An import in this process changes what all of it does."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)


RECIPES = [
    PLAIN["plain"],
    Recipe(Choice("muon"), techniques={"ema": {}, "mixup": {}, "label_smoothing": {}}),
    Recipe(Choice("adamw"), Choice("constant"), techniques={"schedule_free": {}, "infobatch": {}}),
    Recipe(Choice("soap"), techniques={"swa": {}, "sam": {}, "selective_backprop": {}}),
]


@pytest.mark.timeout(100)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimizer.name)
@pytest.mark.parametrize(
    "switch",
    [
        # The factory's weights are in the precision that it asks for, ours in our own.
        "torch.set_default_dtype(torch.float64)\nnet = lambda: nn.Linear(4, 2).float()\n",
        "torch.set_grad_enabled(False)\n",
        "torch.use_deterministic_algorithms(True)\n",
        "torch.set_default_device('meta')\n",
    ],
)
def test_what_a_file_switches(tmp_path, switch, recipe, restored):
    where = ", device='cpu'" if "device" in switch else ""
    body = switch + f"task = Task(model=net, train=(torch.rand(400, 4{where}), torch.arange(400{where}) % 2))\n"
    _, outcomes, _ = run(tmp_path, body, InlineExecutor, 1, recipe)
    assert outcomes[0].final.loss < 1


def test_a_function_that_raises_is_an_error_of_the_task(tmp_path):
    body = "def broken():\n    raise KeyError('gone')\ntask = Task(model=net, train=broken)\n"
    with pytest.raises(TaskError, match=r"model\.py:22: KeyError: 'gone'"):
        run(tmp_path, body)
