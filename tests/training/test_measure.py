"""Measuring a step on a machine that does other things too, with a clock that stands for the machine."""

import pytest
import torch
from torch import nn

from autoaccel.core.quantities import COUNTS
from autoaccel.core.recipe import PLAIN
from autoaccel.techniques.registry import build
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task
from autoaccel.training.profile import measure_step

STEP = 0.01


class BusyMachine:
    """A clock by which each timed step takes STEP seconds, times a factor; it is read at both ends of a step."""

    def __init__(self, factors):
        self._factors, self._reads, self._now = list(factors), 0, 0.0

    def now(self):
        self._reads += 1
        if self._reads % 2 == 0:
            self._now += STEP * (self._factors.pop(0) if self._factors else 1.0)
        return self._now


def measured(factors):
    torch.manual_seed(0)
    x = torch.randn(300, 8)
    task = Task(model=lambda: nn.Linear(8, 3), train=(x, torch.arange(300) % 3))
    clock = BusyMachine([])
    context = assemble(task, build(PLAIN["plain"].chosen()), {}, 0, 0, clock, 0.0, True)
    return measure_step(context, 64, BusyMachine(factors)), context.meter.spent()


@pytest.mark.parametrize(
    "factors",
    [
        [1.0] * 5,
        [40.0, 1, 1, 1, 1],
        [1, 20, 1, 30, 1],
        [9.0, 12, 40, 7, 1],
        [9.0, 12, 40, 7, 25],
        [1.1, 1, 0.9, 1, 1.2],
    ],
)
def test_other_processes_do_not_make_a_step_look_slow(factors):
    """Up to all of the first five steps are disturbed; then it measures again."""
    found, _ = measured(factors)
    assert found.cost.seconds == pytest.approx(STEP, rel=0.15)


def test_what_is_charged_does_not_depend_on_how_often_it_measures():
    (quiet, once), (busy, often) = measured([1.0] * 5), measured([9.0, 12, 40, 7, 1])
    assert once.without(frozenset({"seconds"})) == often.without(frozenset({"seconds"}))
    assert once.steps == 6 and once.flops > 0
    assert quiet.cost.without(frozenset({"seconds"})) == busy.cost.without(frozenset({"seconds"}))
    assert not COUNTS & quiet.cost.keys()
