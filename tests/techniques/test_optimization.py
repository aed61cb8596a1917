"""Learning rates and batch sizes against references."""

import pytest
import torch
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.schedules import Schedule
from autoaccel.techniques.optimization.learning_rate import FIRST
from autoaccel.techniques.registry import build, catalog, classes
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task


def context_with(**chosen):
    net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))  # noqa: E731
    task = Task(model=net, train=(torch.rand(50, 4), torch.arange(50) % 2))
    made = build({"linear": {}, "constant_batch": {}, **chosen})
    return assemble(task, made, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def test_the_shape_of_the_learning_rate_multiplies_a_scheduled_peak():
    context = context_with(adamw={"lr": Schedule(0.1, 0.3)})
    context.p = 0.5
    for technique in context.techniques:
        with technique.step(context):
            pass
    factor = 0.5 / 0.95  # linear decay after a warm-up of 0.05
    assert context.optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * factor)


@pytest.mark.parametrize("name", [n for n, info in catalog().items() if info.component == "learning_rate"])
def test_learning_rates_end_annealed(name):
    rate = classes()[name]()
    assert rate.factor(1.0) == pytest.approx(1.0 if name == "constant" else 0.0, abs=1e-6)
    assert rate.factor(rate.warmup) == pytest.approx(1.0)
    if rate.warmup:
        assert rate.factor(0.0) == FIRST


def test_every_declaration_is_well_formed():
    for info in catalog().values():
        assert info.summary and info.category and info.paper, info.name
        for parameter in info.parameters.values():
            domain = parameter.domain
            assert domain.options or domain.low < domain.high
