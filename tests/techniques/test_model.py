"""Compression: pruned models are really smaller, and pruned weights really zero."""

import pytest
import torch
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.techniques.model.compression import _prunable, cut_channels
from autoaccel.training.checkpoint import load_weights, save_weights
from autoaccel.training.data.task import Task
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 32, 3, padding=1)
        self.shortcut = nn.Conv2d(16, 32, 1)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        return self.head((self.deep(x).relu() + self.shortcut(x)).mean((2, 3)))


@pytest.fixture
def task():
    x = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Task(model=Net, train=(x, torch.arange(300) % 3))


def run(task, techniques, folder, flops=None):
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, folder=folder, cpu=True)
    budget = Budget(flops=flops) if flops else Budget(steps=30)
    outcome = run_trial(task, TrialRequest(0, Recipe(techniques=techniques), budget), environment)
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    return outcome


def test_structured_pruning_buys_steps_and_its_weights_load_into_the_users_model(task, tmp_path):
    pytest.importorskip("torch_pruning")
    plain = run(task, {}, tmp_path / "plain", flops=3e9)
    pruned = run(task, {"structured_pruning": {"ratio": 0.5, "at": 0.3}, "ema": {}}, tmp_path / "pruned", flops=3e9)
    assert pruned.cost.steps > 1.3 * plain.cost.steps
    model = Net()
    load_weights(model, tmp_path / "pruned" / "model.safetensors")
    assert model.deep.out_channels == 16 and model.norm.num_features == 8
    assert model.eval()(torch.rand(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("more", [{}, {"ema": {"half_life": 0.1}}])
def test_magnitude_pruning_delivers_zeros_also_in_an_average(task, tmp_path, more):
    run(task, {"magnitude_pruning": {"sparsity": 0.75}, **more}, tmp_path)
    model = Net()
    load_weights(model, tmp_path / "model.safetensors")
    assert (model.deep.weight == 0).float().mean() == pytest.approx(0.75, abs=0.01)


def test_a_pruned_model_goes_on_training():
    """torch_pruning leaves a model in eval mode, where BatchNorm does not learn and dropout is off."""
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))
    cut_channels(model.train(), torch.rand(2, 1, 8, 8), 0.5, 4)
    assert all(module.training for module in model.modules())


def test_a_pruned_model_with_layer_norm_loads_again(tmp_path):
    def make():
        return nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))

    model = make()
    cut_channels(model, torch.rand(2, 6), 0.5, 4)
    save_weights(model, tmp_path / "model.safetensors")
    fresh = make()
    load_weights(fresh, tmp_path / "model.safetensors")
    x = torch.rand(4, 6)
    assert torch.equal(fresh.eval()(x), model.eval()(x))


@pytest.mark.parametrize(("channels", "ratio", "left"), [(16, 0.5, 8), (16, 0.6, 8), (32, 0.6, 8), (8, 0.5, 8)])
def test_one_multiple_of_channels_is_left_however_much_is_cut(channels, ratio, left):
    model = nn.Sequential(nn.Conv2d(1, channels, 3), nn.ReLU(), nn.Flatten(), nn.Linear(channels * 36, 3))
    cut_channels(model, torch.rand(2, 1, 8, 8), ratio, 8)
    assert model[0].out_channels == left


@pytest.mark.parametrize(("since", "until", "every"), [(0.4, 0.5, 0.1), (0.0, 0.9, 0.07)])
def test_magnitude_pruning_reaches_its_share(task, tmp_path, since, until, every):
    parameters = {"sparsity": 0.75, "since": since, "until": until, "every": every}
    run(task, {"magnitude_pruning": parameters}, tmp_path)
    model = Net()
    load_weights(model, tmp_path / "model.safetensors")
    assert (model.deep.weight == 0).float().mean() == pytest.approx(0.75, abs=0.002)


def test_what_an_embedding_shares_is_not_pruned():
    table, hidden, head = nn.Embedding(7, 8), nn.Linear(8, 8), nn.Linear(8, 7)
    head.weight = table.weight
    assert [id(p) for p in _prunable(nn.ModuleList([table, hidden, head]))] == [id(hidden.weight)]


def test_weights_that_are_parts_of_one_memory_are_saved(tmp_path):
    """The weights of a recurrent layer on a GPU are views of one storage."""

    def make():
        return nn.LSTM(4, 3)

    model = make()
    memory = torch.cat([p.detach().flatten() for p in model.parameters()])
    for p, part in zip(model.parameters(), memory.split([p.numel() for p in model.parameters()]), strict=True):
        p.data = part.view(p.shape)
    save_weights(model, tmp_path / "model.safetensors")
    fresh = make()
    load_weights(fresh, tmp_path / "model.safetensors")
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), fresh.parameters(), strict=True))
