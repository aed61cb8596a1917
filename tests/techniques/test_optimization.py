"""Optimizers, learning rates and batch sizes against references."""

import pytest
import torch
from torch import nn

from autoaccel.techniques.optimization.learning_rate import FIRST
from autoaccel.techniques.optimization.optimizers import MuonWithAdamW, decay_groups
from autoaccel.techniques.registry import catalog, classes


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


def test_weight_decay_spares_biases_and_embeddings():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    decayed, spared = decay_groups(net, 1e-3, 0.1, decay_all=False)
    assert [p.shape for p in decayed["params"]] == [(3, 4)]
    assert spared["weight_decay"] == 0
    assert len(decay_groups(net, 1e-3, 0.1, decay_all=True)) == 1


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
