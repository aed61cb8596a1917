"""Steps count as proved to fit in memory until one needs more than all before it."""

import pytest
import torch
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN
from autoaccel.techniques.registry import build
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task
from autoaccel.training.sizes import SURE, Sizes


class Net(nn.Module):
    """A net that may skip a block."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.skips = True

    def forward(self, x):
        x = self.first(x)
        return self.last(x if self.skips else self.second(x))


@pytest.fixture
def context():
    task = Task(
        model=Net, train=(torch.randn(64, 4), torch.arange(64) % 2), valid=(torch.randn(8, 4), torch.arange(8) % 2)
    )
    made = assemble(task, build(PLAIN["plain"].chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    made.variants["skips"] = True
    return made


def batch_of(context, count):
    return context.fetch(torch.arange(count))


def proved(context, count):
    """Sizes after which batches of `count` fit."""
    sizes, batch = Sizes(), batch_of(context, count)
    assert [sizes.fits(context, batch) for _ in range(SURE + 1)] == [False] * SURE + [True]
    return sizes


def test_a_larger_batch_has_to_prove_itself_and_a_smaller_one_has_not(context):
    sizes = proved(context, 16)
    assert sizes.fits(context, batch_of(context, 8))
    assert not sizes.fits(context, batch_of(context, 17))


def test_larger_targets_need_more(context):
    sizes, batch = proved(context, 16), batch_of(context, 16)
    assert not sizes.fits(context, batch.replace(targets=torch.zeros(16, 9)))


def test_a_block_that_is_no_longer_skipped_needs_more(context):
    sizes, batch = proved(context, 16), batch_of(context, 16)
    context.model.skips = context.variants["skips"] = False
    assert not sizes.fits(context, batch)
    context.model.skips = context.variants["skips"] = True
    assert [sizes.fits(context, batch) for _ in range(SURE)] == [False] * (SURE - 1) + [True]


def test_another_network_begins_anew(context):
    sizes, batch = proved(context, 16), batch_of(context, 16)
    context.network = nn.Sequential(context.model)
    assert not sizes.fits(context, batch)


def test_only_what_is_computed_at_once_counts(context):
    sizes = proved(context, 16)
    context.micro_batch = 16
    assert sizes.fits(context, batch_of(context, 64))


def test_processes_wait_no_more_where_a_step_left_a_parameter_out(context):
    sizes, batch = proved(context, 16), batch_of(context, 16)
    sizes.overlap = False
    assert not sizes.fits(context, batch)
