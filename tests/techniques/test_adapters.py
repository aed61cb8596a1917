"""Adapters: few parameters are trained, at a lower cost, and the user's plain model is saved."""

import copy

import pytest
import torch
from delivery import judged_and_delivered, net_task
from sample_tasks import token_task, transformer
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.techniques.model.adapters import Lora
from autoaccel.techniques.registry import build
from autoaccel.techniques.shared.modules import projections
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task


def stack():
    return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3))


def task(model=stack):
    x = torch.randn(100, 16, generator=torch.Generator().manual_seed(0))
    return Task(model=model, train=(x, torch.arange(100) % 3))


def adapted(made=None, optimizer="adamw", **parameters):
    recipe = Recipe(optimizer=Choice(optimizer), techniques={"lora": parameters})
    return assemble(made or task(), build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def filled(context):
    """Fill the low-rank factors with random values, as if trained."""
    with torch.no_grad():
        for name, parameter in context.model.named_parameters():
            if name.endswith("lora_b"):
                parameter.normal_()
    return context


def lora_of(context):
    return next(t for t in context.techniques if isinstance(t, Lora))


def test_the_function_is_unchanged_at_the_start():
    context = adapted()
    plain = stack()
    plain.load_state_dict(context.model.state_dict(), strict=False)
    x = torch.randn(8, 16)
    assert torch.equal(context.model(x), plain(x))


@pytest.mark.parametrize("made", [task(), token_task(transformer)], ids=["stack", "transformer"])
def test_merging_keeps_the_function_and_leaves_the_users_model(made):
    context = filled(adapted(made, rank=4))
    context.model.double()
    inputs = made.train[0][:8]
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    before = context.model.eval()(inputs)
    lora_of(context).finish(context)
    plain = made.model().double().eval()
    assert {type(m) for m in context.model.modules()} == {type(m) for m in plain.modules()}
    assert all(p.requires_grad for p in context.model.parameters())
    plain.load_state_dict(context.model.state_dict())
    torch.testing.assert_close(plain(inputs), before, atol=1e-9, rtol=0)


@pytest.mark.parametrize("vectors", [False, True])
def test_only_adapters_head_and_perhaps_vectors_are_trained(vectors):
    context = adapted(rank=4, vectors=vectors)
    context.forward(torch.randn(8, 16)).sum().backward()
    trained = {name for name, p in context.model.named_parameters() if p.grad is not None}
    factors = {f"{layer}.lora_{factor}" for layer in (0, 2) for factor in "ab"}
    assert trained == factors | {"4.weight", "4.bias"} | ({"0.bias", "2.bias"} if vectors else set())


def test_flops_are_those_of_adapters():
    n, r = 8, 4
    # Forward, then gradients of the head, the second layer's input and factors, and the first layer's factors.
    forward = 16 * 32 + 32 * 32 + 32 * 3 + r * (16 + 32) + r * (32 + 32)
    head = 2 * 32 * 3
    second = 32 * 32 + 2 * r * 32 + 2 * r * 32
    first = 2 * r * 32 + r * 16
    context = adapted(rank=r)
    assert context.meter.flops_of(torch.randn(n, 16), backward=True) == 2 * n * (forward + head + second + first)
    lora_of(context).finish(context)
    assert context.meter.flops_of(torch.randn(n, 16), backward=False) == 2 * n * (16 * 32 + 32 * 32 + 32 * 3)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_factors_are_not_decayed(optimizer):
    context = adapted(optimizer=optimizer)
    factors = {id(p) for name, p in context.model.named_parameters() if "lora" in name}
    groups = [g for g in context.optimizer.param_groups if any(id(p) in factors for p in g["params"])]
    assert sum(len(g["params"]) for g in groups) >= len(factors)
    assert all(g["weight_decay"] == 0 for g in groups)
    frozen = {id(p) for p in context.model.parameters() if not p.requires_grad}
    assert frozen.isdisjoint(id(p) for g in context.optimizer.param_groups for p in g["params"])


def test_an_encoder_of_torchs_own_is_evaluation_samples_its_adapters():
    """In eval mode, torch's fast path would read the weights directly and skip the adapters."""

    def encoder():
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        return nn.Sequential(nn.Unflatten(1, (1, 16)), layer, nn.Flatten(), nn.Linear(16, 3))

    context = filled(adapted(task(encoder)))
    x = torch.randn(8, 16)
    trained = context.model(x)
    with torch.inference_mode():
        assert torch.allclose(context.model.eval()(x), trained, atol=1e-5)
        lora_of(context).finish(context)
        assert torch.allclose(context.model(x), trained, atol=1e-5)
    assert type(context.model[1]) is nn.TransformerEncoderLayer


def test_the_linear_layer_of_gpt2_is_adapted():
    transformers = pytest.importorskip("transformers.pytorch_utils")
    make = lambda: nn.Sequential(transformers.Conv1D(8, 16), nn.GELU(), nn.Linear(8, 3))  # noqa: E731
    context = filled(adapted(task(make), rank=2))
    assert context.model[0].lora_a.shape == (2, 16)
    x = torch.randn(8, 16)
    before = context.model(x)
    lora_of(context).finish(context)
    torch.testing.assert_close(context.model(x), before, atol=1e-5, rtol=1e-5)


def test_a_tied_layer_is_left_alone():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.hidden, self.head = nn.Embedding(7, 8), nn.Linear(8, 8), nn.Linear(8, 7)
            self.head.weight = self.embedding.weight

    assert list(projections(Tied())) == ["hidden"]


def test_what_is_evaluated_is_what_is_delivered_also_as_an_average(tmp_path):
    found = judged_and_delivered(net_task(), {"lora": {"rank": 4}, "ema": {"half_life": 0.1}}, tmp_path)
    assert found.saved.keys() == net_task().model().state_dict().keys()
    # BatchNorm statistics of the average are measured on different samples each time.
    assert found.evaluated == pytest.approx(found.finalized, rel=0.02)
    assert found.finalized == pytest.approx(found.loaded, rel=1e-4)


def test_a_copy_of_an_adapted_model_has_adapters_of_its_own():
    context = filled(adapted())
    x = torch.randn(8, 16)
    copied = copy.deepcopy(context.model)
    with torch.no_grad():
        context.model[0].lora_a.zero_()
    assert not torch.equal(copied(x), context.model(x))
