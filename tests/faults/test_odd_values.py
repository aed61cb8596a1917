"""Metrics and losses that are no numbers: never a complete trial, and never what is delivered."""

import math

import pytest
import torch
from torch import nn

from autoaccel import Task, tune
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

ODD = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "None": None,
    "a text": "good",
    "a number as text": "0.9",
    "a tensor of two": torch.tensor([0.5, 0.9]),
    "a tensor of nan": torch.tensor(math.nan),
}


def trained(metric=None, model=lambda: nn.Linear(4, 2)):
    """Train ten steps with two evaluations; return the outcome and the reports."""
    x, reports = torch.rand(200, 4), []
    how = {} if metric is None else {"metric": metric, "direction": "max"}
    task = Task(model=model, train=(x, (x.sum(1) > 2).long()), **how)
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda r: reports.append(r) or True, cpu=True)
    request = TrialRequest(0, PLAIN["plain"], Budget(steps=10), milestones=(0.5, 1.0))
    return run_trial(task, request, environment), reports


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_a_metric_that_is_no_number_ends_the_trial(value, at):
    """Fault: a metric returns what is no number, at the first evaluation or the second. Promise: the trial ends there, is
    not complete, and nothing of it is reported."""
    calls = []

    def metric(true, predicted):
        calls.append(1)
        return value if len(calls) >= at else 0.5

    outcome, reports = trained(metric)
    assert outcome.kind in (OutcomeKind.INFEASIBLE, OutcomeKind.FAILED), outcome
    assert len(reports) == at - 1 and len(calls) >= at
    assert outcome.reason.count("\n") == 0


@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_a_metric_that_is_a_tensor_with_a_gradient_is_a_number():
    """Fault: a metric returns a tensor that holds a graph. Promise: its value counts, and the graph is let go."""
    outcome, reports = trained(lambda true, predicted: torch.tensor(0.7, requires_grad=True) * 1)
    assert outcome.kind is OutcomeKind.COMPLETE and [type(r.metric) for r in reports] == [float, float]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_at_some_step_ends_the_trial(value):
    """Fault: the outputs are no numbers from the sixth step on. Promise: infeasible, after the report before it."""

    class Net(nn.Linear):
        steps = 0

        def forward(self, x):
            self.steps += self.training
            return super().forward(x) * (value if self.steps > 5 else 1.0)

    outcome, reports = trained(model=lambda: Net(4, 2))
    assert outcome.kind is OutcomeKind.INFEASIBLE and len(reports) <= 1


MODEL = """
import json, math, pathlib, torch
from torch import nn
from autoaccel import Task
x = torch.rand(300, 4)
log = pathlib.Path(LOG)
def other_than_plain():
    lines = log.read_text().splitlines() if log.exists() else []
    starts = [json.loads(line.partition(" ")[2])[2]["request"] for line in lines if '"start"' in line]
    plain = [request["recipe"] for request in starts if request["purpose"] == "baseline"]
    return bool(starts) and starts[-1]["recipe"] not in plain
def metric(true, predicted):
    return ODD if other_than_plain() else float((true == predicted).mean())
net = lambda: nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
task = Task(model=net, train=(x, (x.sum(1) > 2).long()), metric=metric, direction="max")
"""


@pytest.mark.slow
def test_what_is_no_number_is_never_delivered(tmp_path):
    """Fault: all recipes but plain have an infinite metric, which would win any comparison. Promise: plain is delivered,
    and the others are told among the failures. If plain's is infinite too, exit 3 says so before anything is spent."""
    run, model = tmp_path / "run", tmp_path / "model.py"
    text = MODEL.replace("LOG", repr(str(run / "events.log")))
    model.write_text(text.replace("ODD", "math.inf"))
    result = tune(str(model), "1e8 FLOPs", out=run, quiet=True)
    assert Recipe.from_data(result.data["recipe"]) in PLAIN.values()
    assert math.isfinite(result.data["delivered"]["metric"]) and result.data["failures"]
    model.write_text(text.replace("ODD if other_than_plain()", "math.inf if True"))
    with pytest.raises(TaskError, match="metric is inf on the validation data"):
        tune(str(model), "1e8 FLOPs", out=tmp_path / "other", quiet=True)
