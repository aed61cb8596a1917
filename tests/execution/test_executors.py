"""Every executor keeps the same contract, one from outside among them."""

import json
import sys
from dataclasses import replace

import pytest
from extending import example

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock, SystemClock
from autoaccel.core.events import Finished
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Resources
from autoaccel.core.trial import TrialRequest
from autoaccel.errors import UsageError
from autoaccel.execution.executors import find_executor
from autoaccel.execution.simulated import TableExecutor
from autoaccel.testing import check_executor

MODEL = """
import torch
from torch import nn
from autoaccel import Task
x = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
y = (x.sum(1) > 2).long()
task = Task(model=lambda: nn.Linear(4, 2), train=(x, y), test=(x[:100], y[:100]), metric="loss")
"""
FACTS = TaskFacts(
    kind="table",
    capabilities=frozenset({"table"}),
    metric="loss",
    maximize=False,
    n_train=320,
    n_valid=80,
    train=Cost(seconds=1e-5, flops=48),
    evaluation=Cost(seconds=1e-3, flops=1280),
)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return str(path)


@pytest.mark.parametrize("name", ["inline", "local"])
def test_an_executor_by_name_keeps_the_contract(name, model, tmp_path):
    resources = Resources(cpu=True, workers=2)
    check_executor(lambda f: find_executor(name)(model, resources, SystemClock(), f), tmp_path)


def test_the_simulated_executor_keeps_the_contract(tmp_path):
    def make(folder):
        return TableExecutor(lambda request, p: 2.0 - p, SimulatedClock(), flops_per_second=1e4, facts=FACTS)

    check_executor(make, tmp_path)


@pytest.mark.parametrize("maximize", [False, True])
def test_a_simulated_training_keeps_its_best_weights_where_it_is_asked_to(maximize):
    """Best at half of it; of two equal ones, the later was trained longer."""

    def table(request, p):
        return 1 - abs(p - 0.5) if maximize else abs(p - 0.5)

    def outcome(**options):
        clock = SimulatedClock()
        executor = TableExecutor(table, clock, facts=replace(FACTS, maximize=maximize))
        executor.start(TrialRequest(0, Recipe(), Budget(seconds=8.0), test=True, **options))
        return next(e.outcome for e in iter(lambda: executor.poll(10.0)[0], None) if isinstance(e, Finished))

    quarters = (0.25, 0.5, 0.75, 1.0)
    kept = outcome(milestones=quarters, keep_best=True)
    assert kept.final.progress == 0.5 and kept.last.progress == 1.0 and kept.test["metric"] == kept.final.metric
    assert kept.kept.startswith("the weights after 50% were better on validation than the last: loss ")
    assert outcome(milestones=(0.25, 0.75), keep_best=True).final.progress == 0.75
    last = outcome(milestones=quarters)
    assert last.final.progress == 1.0 and last.last is None and last.test["metric"] == last.final.metric
    assert outcome(milestones=(), keep_best=True).final.progress == 1.0


def test_an_executor_from_outside_keeps_the_contract_and_writes_what_happens(model, tmp_path):
    followed = example("executor").followed
    resources = Resources(cpu=True, workers=2)
    check_executor(lambda folder: find_executor(followed)(model, resources, SystemClock(), folder), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "followed.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines[:4]] == ["start", "reported", "reported", "finished"]


def test_an_executor_that_forgets_a_stopped_trial_is_found_out(tmp_path):
    class Forgetful(TableExecutor):
        def stop(self, trial):
            self._queue = [entry for entry in self._queue if getattr(entry[2], "trial", None) != trial]

    def make(folder):
        return Forgetful(lambda request, p: 1.0, SimulatedClock(), flops_per_second=1e4, facts=FACTS)

    with pytest.raises(AssertionError, match=r"trials \[3\] never finished"):
        check_executor(make, tmp_path)


def test_an_executor_that_finishes_twice_is_found_out(tmp_path):
    class Eager(TableExecutor):
        def poll(self, timeout):
            events = super().poll(timeout)
            return [e for event in events for e in ([event, event] if isinstance(event, Finished) else [event])]

    def make(folder):
        return Eager(lambda request, p: 1.0, SimulatedClock(), flops_per_second=1e4, facts=FACTS)

    with pytest.raises(AssertionError, match="finished twice"):
        check_executor(make, tmp_path)


def test_an_unknown_executor_is_refused():
    with pytest.raises(UsageError, match="accepted is local, inline"):
        find_executor("cloud")


def test_ray_that_is_not_installed_is_one_line(model, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("autoaccel.execution.ray")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"the executor ray needs Ray: pip install 'autoaccel\[ray\]'"):
        find_executor("ray")(model, Resources(), SystemClock(), tmp_path)
