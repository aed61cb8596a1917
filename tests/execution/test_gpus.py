"""Trials on a real GPU: its memory comes back, bf16 trains, and NCCL averages gradients."""

import multiprocessing
from contextlib import closing
from dataclasses import replace

import pytest
import torch
from torch import distributed, nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Finished
from autoaccel.core.recipe import PLAIN
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.execution.local.supervisor import Supervisor
from autoaccel.training.gradients import shared

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
MODEL = """
import os, signal, torch
from torch import nn
from autoaccel import Task

class Net(nn.Module):
    def __init__(self, killed=False):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 2))
        self.killed, self.calls = killed, 0

    def forward(self, x):
        assert x.is_cuda
        self.calls += 1
        if self.killed and self.calls > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layers(x)

generator = torch.Generator().manual_seed(0)
x = torch.rand(2000, 64, generator=generator)
task = Task(model=Net, train=(x, (x.sum(1) > 32).long()), metric="loss")
"""
NOISE = 64 * 2**20
"""Bytes that a driver may keep or give back at any time."""


@pytest.fixture
def supervisor(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    target = TaskRef(str(tmp_path / "model.py"))
    with closing(Supervisor(target, Resources(workers=1), SystemClock(), tmp_path)) as made:
        made.load(None)
        made.profile(None)
        yield made


def outcome_of(supervisor, number, techniques=(), **model):
    recipe = replace(PLAIN["plain"], techniques={name: {} for name in techniques}, model=model)
    supervisor.start(TrialRequest(number, recipe, Budget(steps=200), grace=60.0))
    while True:
        for event in supervisor.poll(0.5):
            if isinstance(event, Finished):
                return event.outcome


def test_the_memory_of_a_trial_comes_back_however_it_ends(supervisor):
    free = torch.cuda.mem_get_info()[0]
    for number, killed in enumerate((False, True, False)):
        kind = outcome_of(supervisor, number, killed=killed).kind
        assert kind is (OutcomeKind.LOST if killed else OutcomeKind.COMPLETE)
        assert free - torch.cuda.mem_get_info()[0] < NOISE, f"after trial {number}"


def test_bf16_trains_about_as_well(supervisor):
    plain, half = outcome_of(supervisor, 0), outcome_of(supervisor, 1, ["bf16"])
    assert plain.kind is half.kind is OutcomeKind.COMPLETE, half.reason
    assert half.final.loss == pytest.approx(plain.final.loss, rel=0.2, abs=0.05)


def average_alone(queue):
    """Compute the gradients of a batch in a group of one process over NCCL, and without any."""
    device = torch.device("cuda", 0)
    store = distributed.HashStore()
    distributed.init_process_group("nccl", store=store, rank=0, world_size=1, device_id=device)
    torch.manual_seed(0)
    model, x = nn.Linear(8, 2).to(device), torch.rand(16, 8, device=device)
    gradients = []
    for network in (model, shared(model, device)):
        model.zero_grad()
        network(x).square().mean().backward()
        gradients.append(model.weight.grad.cpu().tolist())
    distributed.destroy_process_group()
    queue.put(gradients)


def test_one_process_over_nccl_has_its_own_gradients():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=average_alone, args=(queue,))
    process.start()
    alone, averaged = queue.get(timeout=120)
    process.join(60)
    assert torch.allclose(torch.tensor(alone), torch.tensor(averaged))
