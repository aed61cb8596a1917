"""System techniques compute the same as plain training, and are charged for what they compute."""

import copy

import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from sample_tasks import Eager, eager_task, image_task, residual_net, token_task, transformer
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.techniques.base import Batch
from autoaccel.techniques.registry import build, catalog
from autoaccel.techniques.shared.modules import dropouts, extend
from autoaccel.techniques.system.memory import Recomputed
from autoaccel.training.build import assemble
from autoaccel.training.checkpoint import load_weights, save_weights
from autoaccel.training.data.capabilities import task_capabilities
from autoaccel.training.data.task import Task
from autoaccel.training.evaluate import score
from autoaccel.training.loop import Milestones, Step, train
from autoaccel.training.meters.count_flops import count_flops
from autoaccel.training.meters.progress import Progress
from autoaccel.training.profile import _machine_capabilities, profile_task


def context_with(task, techniques=(), components=None):
    AcceleratorState._reset_state(reset_partial_state=True)  # in a run, every trial has its own process
    recipe = Recipe(techniques={name: {} for name in techniques}, **(components or {}))
    return assemble(task, build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def trained(context, steps):
    losses = []

    def report(index, score, cost):
        losses.append(score.loss)
        return True

    progress = Progress(Budget(steps=steps), context.meter.spent(), Cost(), 1, Cost())
    train(context, progress, Milestones((1.0,), 0, report), seed=0)
    return losses[0]


def table_task(model=lambda: nn.Linear(4, 3), n=200):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return Task(model=model, train=(x, torch.arange(n) % 3))


# Gradient scaling. A scaler works on the CPU too, but Accelerate uses it only on GPUs.


def with_scaler(context, scale):
    context.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    context.prepare()
    return context


def test_techniques_see_true_gradients_where_a_scaler_enlarges_them():
    plain = context_with(table_task(), ["clip"], {"optimizer": Choice("sgd", {"lr": 0.5})})
    scaled = with_scaler(context_with(table_task(), ["clip"], {"optimizer": Choice("sgd", {"lr": 0.5})}), 2.0**10)
    assert type(scaled.optimizer) is not type(plain.optimizer)
    assert trained(scaled, 10) == pytest.approx(trained(plain, 10), rel=1e-5)


def test_a_step_whose_gradients_overflow_is_skipped_and_the_scale_halved():
    class Overflowing(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 1e30

    context = with_scaler(context_with(table_task(lambda: Overflowing(4, 3)), ["clip"]), 2.0**30)
    before = copy.deepcopy(context.model.state_dict())
    Step(context)(context.fetch(torch.arange(16)))
    assert all(torch.equal(t, before[name]) for name, t in context.model.state_dict().items())
    assert context.accelerator.scaler.get_scale() == 2.0**29
    assert all(p.grad is None for p in context.model.parameters())


def test_bf16_holds_for_what_runs_during_setup():
    context = context_with(table_task())
    context.accelerator, context.mixed_precision = None, "bf16"
    seen = []
    handle = context.model.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    assert context.forward(torch.zeros(2, 4)).dtype == torch.float32
    assert seen[-1] == torch.bfloat16  # the first call counts the cost on a copy of the model
    handle.remove()


# Float8.


def wide():
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))


@pytest.mark.skipif(not catalog()["fp8"].available, reason="needs the extra lowbit")
def test_fp8_computes_almost_the_same_with_the_same_parameters_at_the_same_flops(tmp_path):
    plain, context = context_with(table_task(wide)), context_with(table_task(wide), ["fp8"])
    kinds = [type(module).__name__ for module in context.model if hasattr(module, "weight")]
    assert kinds == ["Linear", "Float8Linear", "Linear"]
    in_optimizer = {id(p) for group in context.optimizer.param_groups for p in group["params"]}
    assert in_optimizer == {id(p) for p in context.model.parameters()}
    x = torch.randn(16, 4)
    with torch.no_grad():
        expected, got = plain.model(x), context.model(x)
    assert torch.allclose(got, expected, atol=0.05 * float(expected.std()) + 0.02)
    assert not torch.equal(got, expected)
    assert count_flops(context.model, x, True) == count_flops(plain.model, x, True)
    assert trained(context, 20) == pytest.approx(trained(plain, 20), rel=0.05)
    save_weights(context.model, tmp_path / "model.safetensors")
    load_weights(wide(), tmp_path / "model.safetensors")


# Activation checkpointing.


class Feed(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))

    def forward(self, x):
        return x + self.body(x)


def test_recomputation_is_charged():
    """The backward needs no output of the second linear layer, so recomputation stops before it."""
    n, width, inner = 10, 16, 32
    net = nn.Sequential(nn.Linear(4, width), *[Feed(width, inner) for _ in range(3)], nn.Linear(width, 3))
    x = torch.zeros(n, 4)
    before = count_flops(net, x, True)
    for block in net[1:4]:
        extend(block, Recomputed)
    assert count_flops(net, x, True) == before + 3 * 2 * n * width * inner
    assert count_flops(net.eval(), x, False) == 2 * n * (4 * width + 3 * 2 * width * inner + width * 3)


@pytest.mark.parametrize("make", [residual_net, transformer])
def test_recomputed_blocks_give_the_same_gradients_and_statistics(make):
    """The second forward uses the same dropout masks, and BatchNorm updates its statistics once."""
    plain = make()
    twice = copy.deepcopy(plain)
    for block in [m for m in twice if type(m).__name__.endswith("Block")]:
        extend(block, Recomputed)
    x = torch.rand(8, 1, 8, 8) if make is residual_net else torch.randint(0, 7, (8, 16))
    for model in (plain, twice):
        set_seed(0)
        model(x).square().sum().backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(plain.parameters(), twice.parameters(), strict=True))
    assert all(torch.equal(t, twice.state_dict()[name]) for name, t in plain.state_dict().items())


# Micro-batches when memory runs out.


class Small(nn.Linear):
    """Runs out of memory with more than `fits` samples in training."""

    fits = 10

    def forward(self, x):
        if torch.is_grad_enabled() and len(x) > self.fits:
            raise torch.OutOfMemoryError("no room for so many")
        return super().forward(x)


def test_a_batch_that_does_not_fit_is_computed_in_parts_with_the_same_gradients():
    plain = context_with(table_task(lambda: nn.Linear(4, 3)))
    small = context_with(table_task(lambda: Small(4, 3)))
    batch = plain.fetch(torch.arange(64))
    plain.backward(batch, 64.0)
    step = Step(small)
    while step._gradients(batch) is None:
        step._halve(batch)
    assert small.micro_batch == 8
    for p, q in zip(plain.model.parameters(), small.model.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-6)
    small.optimizer.zero_grad()
    assert trained(small, 10) == pytest.approx(trained(context_with(table_task()), 10), rel=1e-5)


def test_a_sample_that_does_not_fit_alone_ends_the_training():
    class Huge(Small):
        fits = 0

    context = context_with(table_task(lambda: Huge(4, 3)))
    with pytest.raises(torch.OutOfMemoryError):
        Step(context)(context.fetch(torch.arange(64)))
    assert context.micro_batch == 1


def test_the_profile_of_a_model_that_needs_micro_batches():
    facts = profile_task(table_task(lambda: Small(4, 3)), SimulatedClock(), 0.0, 0, cpu=True)
    assert facts.train.flops > 0


# Attention.


def test_sdpa_is_asked_for_where_a_model_offers_it():
    def offers(task):
        context = context_with(task)
        return "eager_attention" in task_capabilities(task, context.data, context.model, {"eager_attention"})

    assert not offers(table_task())
    assert offers(eager_task())
    (model,) = (m for m in context_with(eager_task(), ["sdpa"]).model.modules() if isinstance(m, Eager))
    assert model.config._attn_implementation == "sdpa"


# Compilation.


def test_what_a_machine_offers_is_found_out_without_compiling(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "compiler" not in _machine_capabilities(cpu)
    monkeypatch.setenv("CXX", "sh")
    assert "compiler" in _machine_capabilities(cpu)
    assert not {"fp16", "fp8"} & _machine_capabilities(cpu)


def without_dropout():
    """A transformer without dropout, since Inductor draws different random numbers."""
    model = transformer()
    for module in dropouts(model):
        module.p = 0.0
    return model


@pytest.mark.slow
@pytest.mark.parametrize("techniques", [["compile"], ["compile", "activation_checkpointing"]])
def test_compiled_training_is_plain_training_and_its_weights_have_plain_names(techniques, tmp_path):
    task = token_task(without_dropout, length=8)
    plain, compiled = context_with(task), context_with(task, techniques)
    blocks = [m for m in compiled.model if m._compiled_call_impl is not None]
    assert len(blocks) == 4
    inputs = torch.zeros(64, 8, dtype=torch.int64)
    assert count_flops(compiled.model, inputs, True) >= count_flops(plain.model, inputs, True)
    assert compiled.meter.spent().flops > 0, "the first run is charged"
    assert all(p.grad is None for p in compiled.model.parameters())
    save_weights(compiled.model, tmp_path / "model.safetensors")
    load_weights(task.model(), tmp_path / "model.safetensors")
    assert trained(compiled, 5) == pytest.approx(trained(plain, 5), rel=1e-4)


@pytest.mark.slow
def test_compiling_a_whole_model_leaves_no_trace_of_its_first_run():
    def make():
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    plain, compiled = context_with(table_task(make)), context_with(table_task(make), ["compile"])
    assert compiled.model._compiled_call_impl is not None
    state = plain.model.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in compiled.model.state_dict().items())
    batch = Batch(torch.randn(16, 4), torch.zeros(16, dtype=torch.int64), torch.arange(16), torch.ones(16))
    plain.model.train(), compiled.model.train()
    plain.backward(batch, 1.0), compiled.backward(batch, 1.0)
    for p, q in zip(plain.model.parameters(), compiled.model.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-5)


class Judging(nn.Linear):
    """Runs out of memory with more than 100 samples in evaluation."""

    seen: list[int] = []

    def forward(self, x):
        if not torch.is_grad_enabled() and len(x) > 100:
            raise torch.OutOfMemoryError("no room for so many")
        self.seen.append(len(x))
        return super().forward(x)


def test_an_evaluation_that_does_not_fit_is_made_in_parts():
    plain = context_with(table_task(lambda: nn.Linear(4, 3)))
    small = context_with(table_task(lambda: Judging(4, 3)))
    small.model.load_state_dict(plain.model.state_dict())
    Judging.seen.clear()
    assert score(small, small.data.train) == score(plain, plain.data.train)
    assert max(Judging.seen) <= 100 and small.evaluation_batch <= 100 and small.micro_batch == 0


def test_images_are_laid_out_before_the_optimizer_makes_its_memories():
    context = context_with(image_task(), ["channels_last"], {"optimizer": Choice("sgd")})
    for p, state in context.optimizer.state.items():
        assert state["momentum_buffer"].stride() == p.stride()
