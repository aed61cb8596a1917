"""Background loading: the same samples in the same order, and no worker process left behind."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from sample_tasks import image_task
from torch import nn
from torch.utils.data import Dataset

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock, SystemClock
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.techniques.base import Technique
from autoaccel.techniques.registry import build
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.data.loading import enough_workers, seconds_per_batch
from autoaccel.training.data.opening import open_data
from autoaccel.training.data.task import Task
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment


class Slow(Dataset):
    """A dataset that may take a while for each sample."""

    def __init__(self, n=200, seconds=0.0, draws=False):
        self.n, self.seconds, self.draws = n, seconds, draws

    def __len__(self):
        return self.n

    def __getitem__(self, place):
        time.sleep(self.seconds)
        x = torch.full((4,), float(place))
        if self.draws:
            x = torch.tensor([float(place), random.random(), np.random.rand(), float(torch.rand(()))])
        return x, place % 3


def context_with(workers, **dataset):
    task = Task(model=lambda: nn.Linear(4, 3), train=Slow(**dataset), valid=Slow(12))
    recipe = Recipe(techniques={"loader": {"workers": workers}})
    return assemble(task, build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def batches(context, count):
    return [batch for batch, _ in zip(BatchSampler(context, seed=0), range(count), strict=False)]


def children():
    """The processes below this one, but for the tracker that multiprocessing keeps once a pool was started."""
    below = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    return [child for child in below if not any("resource_tracker" in part for part in child.cmdline())]


def test_samples_come_in_the_same_order_over_several_passes():
    plain = batches(context_with(0), 10)  # a pass over 200 samples has three full batches
    context = context_with(2)
    loaded = batches(context, 10)
    for one, other in zip(plain, loaded, strict=True):
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(other.inputs[:, 0].long(), other.index)
    assert len(children()) == 2
    context.loader = None
    assert not children()


def test_a_pass_may_end_early():
    passes = []
    for workers in (0, 2):
        context = context_with(workers)
        seen = []
        for batch in BatchSampler(context, seed=0):
            seen.append(batch.index)
            if len(seen) == 2:
                context.begin_pass()
            if len(seen) == 4:
                break
        passes.append(torch.cat(seen))
        context.loader = None
    assert torch.equal(*passes)


def test_weights_of_a_selection_reach_the_right_samples():
    class Odd(Technique):
        def select(self, context, weight):
            return torch.where(torch.arange(len(weight)) % 2 == 1, weight, 0.0) * torch.arange(len(weight))

    context = context_with(1)
    context.techniques = (*context.techniques, Odd())
    (batch,) = batches(context, 1)
    assert (batch.index % 2 == 1).all()
    assert torch.allclose(batch.weight, batch.index / 100.0)


def test_a_batch_size_that_changes_takes_effect_a_few_batches_later():
    context = context_with(1, n=1000)
    sizes = []
    for batch in BatchSampler(context, seed=0):
        sizes.append(len(batch.index))
        context.batch_size = 32
        if len(sizes) == 6:
            break
    assert sizes[0] == 64 and sizes[-1] == 32


def test_random_numbers_differ_between_workers_and_not_between_trainings():
    drawn = []
    for _ in range(2):
        torch.manual_seed(time.monotonic_ns() % 2**31)
        context = context_with(2, draws=True)
        drawn.append(torch.cat([batch.inputs[:, 1:] for batch in batches(context, 3)]))
        context.loader = None
    assert torch.equal(*drawn)
    for column in drawn[0].T:
        assert len(column.unique()) == len(column)


def test_arrays_are_not_loaded_in_the_background():
    context = assemble(image_task(), build(Recipe().chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    assert not context.load_in_background(2)
    assert context.loader is None


@pytest.mark.parametrize(
    ("seconds", "most", "chosen"),
    [
        ({0: 1.0, 1: 0.95, 2: 0.5, 4: 0.45, 8: 0.1}, 8, 2),
        ({0: 1.0, 1: 0.95, 2: 0.5}, 2, 2),
        ({0: 1.0, 1: 0.95, 2: 0.5}, 1, 1),
        ({0: 1.0, 1: 1.2}, 8, 0),
        ({0: 0.0, 1: 0.0}, 8, 0),
    ],
)
def test_as_many_workers_are_kept_as_are_worth_having(seconds, most, chosen):
    assert enough_workers(seconds.__getitem__, most) == chosen


def test_a_measurement_loads_and_leaves_no_process_behind():
    source = open_data(Slow(40, seconds=0.002), "train", None).source
    for workers in (0, 1):
        assert seconds_per_batch(source, 8, workers, SystemClock().now) > 0
    assert not children()
    assert context_with(-1).loader is None, "no time passes on a simulated clock"


def test_a_trial_leaves_no_process_behind():
    task = Task(model=lambda: nn.Linear(4, 3), train=Slow(), valid=Slow(12))
    recipe = Recipe(techniques={"loader": {"workers": 2}})
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, cpu=True)
    outcome = run_trial(task, TrialRequest(0, recipe, Budget(steps=8), milestones=(1.0,)), environment)
    assert outcome.kind is OutcomeKind.COMPLETE
    assert not children()


ORPHANS = """
import sys, time
sys.path.insert(0, "tests/training"); sys.path.insert(0, "tests")
from test_loader import batches, children, context_with
context = context_with(2)
kept = batches(context, 1)
print(*[child.pid for child in children()], flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_workers_end_when_their_process_is_killed():
    started = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in started.stdout.readline().split()]
    assert len(workers) == 2
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    started.stdout.close()
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(psutil.pid_exists(pid) for pid in workers)
