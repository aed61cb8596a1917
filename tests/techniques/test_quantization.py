"""Quantization: training and evaluation use the values that int8 can hold, and the file holds int8."""

import copy

import pytest
import torch
from delivery import judged_and_delivered, net, net_task
from safetensors.torch import save_file
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.techniques.model.quantization import Quantization
from autoaccel.techniques.registry import build
from autoaccel.techniques.shared.modules import extend
from autoaccel.techniques.shared.quantized import FakeInt8, Int8, plain_state, rounded, store_int8
from autoaccel.training.build import assemble
from autoaccel.training.checkpoint import load_weights, save_weights

LAYERS = [
    (nn.Linear(6, 5), (4, 6)),
    (nn.Conv1d(4, 6, 3), (2, 4, 8)),
    (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", bias=False), (2, 4, 8, 8)),
    (nn.Conv3d(2, 3, 2), (2, 2, 4, 4, 4)),
]


def quantizing(model=net, **parameters):
    recipe = Recipe(techniques={"quantization": parameters})
    return assemble(net_task(model), build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def quantization_of(context):
    return next(t for t in context.techniques if isinstance(t, Quantization))


def test_rounding_is_that_of_torch_and_gradients_pass():
    weight = torch.randn(5, 3, 2, requires_grad=True)
    scale = weight.detach().abs().amax((1, 2)) / 127
    wanted = torch.fake_quantize_per_channel_affine(weight, scale, torch.zeros(5, dtype=torch.int32), 0, -127, 127)
    made = rounded(weight, 0)
    torch.testing.assert_close(made, wanted, atol=1e-6, rtol=0)
    (made * torch.arange(30.0).view(5, 3, 2)).sum().backward()
    assert torch.equal(weight.grad, torch.arange(30.0).view(5, 3, 2))


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda given: type(given).__name__)
def test_the_stored_layer_computes_what_the_trained_one_did(layer, shape):
    layer, x = copy.deepcopy(layer), torch.randn(shape)
    extend(layer, FakeInt8)
    trained = layer(x)
    store_int8(layer)
    assert layer.state_dict()["weight"].dtype == torch.int8
    torch.testing.assert_close(layer(x), trained, atol=1e-5, rtol=1e-5)


def test_a_channel_of_zeros_stays_zero():
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    store_int8(layer)
    assert torch.equal(layer.weight, torch.zeros(2, 3))


def test_the_linear_layer_of_gpt2_has_a_scale_for_each_output():
    transformers = pytest.importorskip("transformers.pytorch_utils")
    layer, x = transformers.Conv1D(6, 4), torch.randn(3, 4)
    extend(layer, FakeInt8)
    trained = layer(x)
    store_int8(layer)
    assert layer.weight_scale.shape == (6,)
    torch.testing.assert_close(layer(x), trained, atol=1e-5, rtol=1e-5)


def test_it_begins_at_its_point_and_spares_the_last_layer():
    context = quantizing(at=0.7)
    technique = quantization_of(context)

    def faked():
        return [name for name, m in context.model.named_modules() if isinstance(m, FakeInt8)]

    context.p = 0.69
    with technique.step(context):
        pass
    assert faked() == []
    context.p = 0.7
    with technique.step(context):
        pass
    assert faked() == ["0", "3", "7"]
    assert quantization_of(quantizing(output=True)).layers == ["0", "3", "7", "9"]


def test_costs_are_those_of_plain_training():
    context, x = quantizing(at=0.0), torch.rand(4, 1, 8, 8)
    before = context.meter.flops_of(x, backward=True)
    with quantization_of(context).evaluate(context):
        context.meter.forget()
        assert context.meter.flops_of(x, backward=True) == before


def test_what_is_evaluated_is_what_is_delivered_also_as_an_average(tmp_path):
    techniques = {"quantization": {"at": 0.7}, "ema": {"half_life": 0.05}}
    found = judged_and_delivered(net_task(), techniques, tmp_path)
    plain = judged_and_delivered(net_task(), {"ema": {"half_life": 0.05}}, tmp_path / "plain")
    # BatchNorm statistics of the average are measured on different samples each time.
    assert found.evaluated == pytest.approx(found.finalized, rel=0.02)
    assert found.finalized == pytest.approx(found.loaded, rel=1e-4)
    assert found.evaluated == pytest.approx(plain.evaluated, rel=0.1)
    size, full = ((folder / "model.safetensors").stat().st_size for folder in (tmp_path, tmp_path / "plain"))
    assert size < 0.35 * full


def test_the_last_steps_may_be_too_long_to_begin_before(tmp_path):
    found = judged_and_delivered(net_task(), {"quantization": {"at": 0.9}}, tmp_path, steps=2)
    assert found.saved["3.weight"].dtype == torch.int8
    assert found.evaluated == pytest.approx(found.finalized, rel=1e-4)


def test_a_pruned_model_is_quantized_and_loads(tmp_path):
    pytest.importorskip("torch_pruning")
    techniques = {"structured_pruning": {"ratio": 0.5, "at": 0.3}, "quantization": {"at": 0.6}}
    found = judged_and_delivered(net_task(), techniques, tmp_path)
    assert found.saved["3.weight"].shape == (16, 8, 3, 3)
    assert found.evaluated == pytest.approx(found.finalized, rel=1e-4) == pytest.approx(found.loaded, rel=1e-4)


def test_an_encoder_of_torchs_own_is_evaluated_rounded_and_loads(tmp_path):
    def encoder():
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        return nn.Sequential(nn.Flatten(), nn.Unflatten(1, (4, 16)), layer, nn.Flatten(), nn.Linear(64, 3))

    found = judged_and_delivered(net_task(encoder), {"quantization": {}}, tmp_path, steps=10)
    assert found.saved["2.linear1.weight"].dtype == torch.int8
    assert found.evaluated == pytest.approx(found.finalized, rel=1e-4) == pytest.approx(found.loaded, rel=1e-4)


def test_plain_state_gives_floats_under_the_users_names(tmp_path):
    context = quantizing(at=0.0)
    quantization_of(context).finish(context)
    save_weights(context.model, tmp_path / "model.safetensors")
    loaded = net()
    load_weights(loaded, tmp_path / "model.safetensors")
    assert isinstance(loaded[3], Int8)
    state = plain_state(loaded)
    fresh = net()
    fresh.load_state_dict(state)
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(fresh.eval()(x), loaded.eval()(x))
    save_file({name: t.contiguous() for name, t in state.items()}, tmp_path / "plain.safetensors")
    load_weights(fresh, tmp_path / "plain.safetensors")
    assert not any(isinstance(m, Int8) for m in fresh.modules())
