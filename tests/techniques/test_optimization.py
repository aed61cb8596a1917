"""Optimizers, learning rates and batch sizes against references."""

import pytest
import torch
from torch import nn

from autoaccel.clock import SimulatedClock
from autoaccel.schedules import Schedule
from autoaccel.techniques.optimization.learning_rate import FIRST
from autoaccel.techniques.optimization.optimizers import MuonWithAdamW, decay_split
from autoaccel.techniques.registry import build, catalog, classes
from autoaccel.training.assemble import assemble
from autoaccel.training.task import Task


def test_muon_equals_torch_on_a_matrix():
    torch.manual_seed(0)
    start = torch.randn(24, 16)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    group = {"params": [ours], "lr": 0.02, "muon": True, "momentum": 0.95, "weight_decay": 0.1}
    one = MuonWithAdamW([group])
    other = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.1, nesterov=True)
    for seed in range(5):
        gradient = torch.randn(24, 16, generator=torch.Generator().manual_seed(seed))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    # torch's iteration runs in bfloat16, ours in float32 on a CPU.
    assert torch.allclose(ours, theirs, atol=5e-3)


def test_its_adamw_equals_torch():
    torch.manual_seed(0)
    start = torch.randn(7)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    one = MuonWithAdamW([{"params": [ours], "lr": 1e-2, "weight_decay": 0.1, "betas": (0.9, 0.95)}])
    other = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1, betas=(0.9, 0.95))
    for _ in range(10):
        gradient = torch.randn(7)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def context_with(**chosen):
    net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))  # noqa: E731
    task = Task(model=net, train=(torch.rand(50, 4), torch.arange(50) % 2))
    made = build({"linear": {}, "constant_batch": {}, **chosen})
    return assemble(task, made, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def test_weight_decay_spares_biases_and_embeddings():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    split = decay_split(net, decay_all=False)
    assert [p.shape for p in split["decayed"]] == [(3, 4)]
    assert len(split["spared"]) == 2
    assert len(decay_split(net, decay_all=True)["decayed"]) == 3


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_every_number_of_an_optimizer_may_be_a_schedule(name):
    numbers = {k: Schedule(0.1, 0.3) for k, p in catalog()[name].parameters.items() if p.scheduled}
    context = context_with(**{name: numbers})
    (optimizer,) = [t for t in context.techniques if t.info.slot == "optimizer"]
    assert {"lr", "weight_decay"} <= numbers.keys()
    for p, expected in ((0.0, 0.1), (0.5, 0.2), (1.0, 0.3)):
        context.p = p
        with optimizer.step(context):
            groups = context.optimizer.param_groups
        assert all(group["initial_lr"] == pytest.approx(expected) for group in groups)
        decays = {round(group["weight_decay"], 6) for group in groups}
        assert decays == {0.0, round(expected, 6)}


def test_the_shape_of_the_learning_rate_multiplies_a_scheduled_peak():
    context = context_with(adamw={"lr": Schedule(0.1, 0.3)})
    context.p = 0.5
    for technique in context.techniques:
        with technique.step(context):
            pass
    factor = 0.5 / 0.95  # linear, after a warm-up of 0.05
    assert context.optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * factor)


@pytest.mark.parametrize("name", [n for n, info in catalog().items() if info.slot == "learning_rate"])
def test_learning_rates_end_annealed(name):
    rate = classes()[name]()
    assert rate.factor(1.0) == pytest.approx(1.0 if name == "constant" else 0.0, abs=1e-6)
    assert rate.factor(rate.warmup) == pytest.approx(1.0)
    if rate.warmup:
        assert rate.factor(0.0) == FIRST


def test_every_declaration_is_well_formed():
    for info in catalog().values():
        assert info.summary and info.cell and info.paper, info.name
        for parameter in info.parameters.values():
            domain = parameter.domain
            assert domain.options or domain.low < domain.high
