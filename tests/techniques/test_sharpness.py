"""SAM against two passes computed by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from autoaccel.core.catalog import TechniqueInfo, check
from autoaccel.core.clock import SimulatedClock
from autoaccel.techniques.optimization.sharpness import Sam
from autoaccel.techniques.registry import build, catalog
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task
from autoaccel.training.loop import Step


def net(dropout=0.3):
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def context_with(**sam):
    x = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
    task = Task(model=net, train=(x, torch.arange(60) % 3))
    components = {
        "sgd": {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0},
        "constant": {},
        "constant_batch": {"size": 16},
    }
    made = build({**components, "sam": sam} if sam else components)
    context = assemble(task, made, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    context.model.train()
    return context


def gradient(model, batch, micro_batch, seed):
    """Compute the gradients of the mean loss over the batch, with dropout masks from a seed."""
    torch.manual_seed(seed)
    model.zero_grad()
    for part in range(0, 16, micro_batch):
        cut = slice(part, part + micro_batch)
        each = cross_entropy(model(batch.inputs[cut]), batch.targets[cut], reduction="none")
        (each.mean() * (len(each) / 16)).backward()


@pytest.mark.parametrize("micro_batch", [16, 8, 6])
def test_sam_equals_two_passes_by_hand(micro_batch):
    context = context_with(rho=0.2, every=1)
    context.micro_batch = micro_batch
    batch = context.fetch(torch.arange(16))
    by_hand = copy.deepcopy(context.model)
    gradient(by_hand, batch, micro_batch, seed=5)
    statistics = {name: b.clone() for name, b in by_hand.named_buffers()}
    start = [p.detach().clone() for p in by_hand.parameters()]
    norm = torch.cat([p.grad.flatten() for p in by_hand.parameters()]).norm()
    with torch.no_grad():
        for p in by_hand.parameters():
            p.add_(0.2 * p.grad / norm)
    gradient(by_hand, batch, micro_batch, seed=5)
    expected = [weight - 0.1 * p.grad for weight, p in zip(start, by_hand.parameters(), strict=True)]
    after = torch.get_rng_state()

    torch.manual_seed(5)
    Step(context)(batch)
    for made, wanted in zip(context.model.parameters(), expected, strict=True):
        assert torch.allclose(made, wanted, rtol=0, atol=1e-6)
    assert all(torch.equal(b, statistics[name]) for name, b in context.model.named_buffers())
    assert torch.equal(torch.get_rng_state(), after)


def test_without_a_way_uphill_the_step_is_the_plain_one():
    """With rho next to 0, the weights, dropout masks and BatchNorm statistics match those of a plain step bit for bit."""
    contexts = context_with(), context_with(rho=1e-30, every=1)
    for context in contexts:
        torch.manual_seed(7)
        step = Step(context)
        for start in (0, 16, 32):
            step(context.fetch(torch.arange(start, start + 16)))
    one, other = (context.model.state_dict() for context in contexts)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_other_step_costs_twice_as_much():
    plain, context = context_with(), context_with(every=2, since=0.5)
    step = Step(context)
    Step(plain)(plain.fetch(torch.arange(16)))
    once = plain.meter.spent().flops
    costs = []
    for p in (0.0, 0.4, 0.5, 0.6, 0.7, 0.8):
        context.p = p
        before = context.meter.spent().flops
        step(context.fetch(torch.arange(16)))
        costs.append((context.meter.spent().flops - before) / once)
    assert costs == [1, 1, 2, 1, 2, 1]


def test_its_count_goes_on_where_it_was():
    sam, again = Sam(every=3), Sam(every=3)
    context = context_with()
    for _ in range(2):
        sam.batch(context, None)
    again.load_state_dict(sam.state_dict())
    due = []
    for _ in range(3):
        again.batch(context, None)
        due.append(bool(again.random))
    assert due == [False, True, False]


def test_scaled_gradients_are_refused():
    half = TechniqueInfo("half", "system", "x", tags=frozenset({"scales_gradients"}))
    assert check({"sam": {}, "half": {}}, {**catalog(), "half": half})
