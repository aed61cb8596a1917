"""Optimizers against reference implementations, and their costs."""

import pytest
import torch
from safetensors.torch import load_file
from sample_tasks import image_task
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from autoaccel.core.catalog import TechniqueInfo, check
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.schedules import Schedule
from autoaccel.techniques.optimization.muon import MuonWithAdamW
from autoaccel.techniques.registry import build, catalog, classes
from autoaccel.techniques.shared.groups import decay_split
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task
from autoaccel.training.finalize import finalize
from autoaccel.training.loop import Step
from autoaccel.training.meters.meters import Meters

OPTIMIZERS = [name for name, info in catalog().items() if info.component == "optimizer"]


def context_with(optimizer, parameters=None, task=None):
    net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))  # noqa: E731
    plain = Task(model=net, train=(torch.rand(50, 4), torch.arange(50) % 2))
    made = build({optimizer: parameters or {}, "constant": {}, "constant_batch": {"size": 16}})
    return assemble(task or plain, made, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def trained_tensor(name, start, gradients, **parameters):
    """Return a tensor after one step per gradient, with a technique's optimizer and weight decay."""
    weight = nn.Parameter(start.clone())
    technique = classes()[name](**parameters)
    optimizer = technique.build([technique._group("decayed", 0.0) | {"params": [weight]}])
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


START = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
GRADIENTS = torch.randn(8, 6, 5, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (16, 16)])
def test_muon_equals_torch_on_a_matrix(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    group = {"params": [ours], "lr": 0.02, "muon": True, "momentum": 0.95, "weight_decay": 0.1}
    one = MuonWithAdamW([group])
    other = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.1, nesterov=True)
    for seed in range(5):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    # torch's Newton-Schulz iteration runs in bfloat16, ours in float32 on a CPU.
    assert torch.allclose(ours, theirs, atol=5e-3)
    assert (ours - start).abs().mean() > 10 * (ours - theirs).abs().mean()


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


def test_muon_is_not_for_adapters():
    lora = TechniqueInfo("lora", "model", "x", tags=frozenset({"adapts"}))
    assert check({"muon": {}, "lora": {}}, {**catalog(), "lora": lora})
    assert not check({"adamw": {}, "lora": {}}, {**catalog(), "lora": lora})


def test_nadamw_looks_ahead_from_the_first_step():
    weight, mean, square = START.clone(), torch.zeros(6, 5), torch.zeros(6, 5)
    for t, g in enumerate(GRADIENTS, 1):
        weight *= 1 - 0.01 * 0.1
        mean, square = 0.9 * mean + 0.1 * g, 0.99 * square + 0.01 * g * g
        ahead = 0.9 * mean / (1 - 0.9 ** (t + 1)) + 0.1 * g / (1 - 0.9**t)
        weight -= 0.01 * ahead / ((square / (1 - 0.99**t)).sqrt() + 1e-8)
    made = trained_tensor("nadamw", START, GRADIENTS, lr=0.01, weight_decay=0.1, beta1=0.9, beta2=0.99)
    assert torch.allclose(made, weight, atol=1e-6)


def test_lion_steps_by_the_sign():
    weight, momentum = START.clone(), torch.zeros(6, 5)
    for g in GRADIENTS:
        weight *= 1 - 0.01 * 0.1
        weight -= 0.01 * (0.9 * momentum + 0.1 * g).sign()
        momentum = 0.99 * momentum + 0.01 * g
    made = trained_tensor("lion", START, GRADIENTS, lr=0.01, weight_decay=0.1)
    assert torch.allclose(made, weight, atol=1e-6)


def test_lamb_moves_a_share_of_the_norm():
    weight, mean, square = START.clone(), torch.zeros(6, 5), torch.zeros(6, 5)
    for g in GRADIENTS:
        mean, square = 0.9 * mean + 0.1 * g, 0.99 * square + 0.01 * g * g
        direction = mean / (square.sqrt() + 1e-6) + 0.1 * weight
        moved = 0.01 * weight.norm() / direction.norm() * direction
        assert moved.norm() == pytest.approx(0.01 * weight.norm())
        weight -= moved
    made = trained_tensor("lamb", START, GRADIENTS, lr=0.01, weight_decay=0.1, beta1=0.9, beta2=0.99)
    assert torch.allclose(made, weight, atol=1e-5)


def test_soap_is_adam_in_the_eigenbasis():
    """The first update only computes the basis; the second one is Adam's first step in it."""
    bases = [
        torch.linalg.eigh(m).eigenvectors for m in (GRADIENTS[0] @ GRADIENTS[0].T, GRADIENTS[0].T @ GRADIENTS[0])
    ]
    turned = bases[0].T @ GRADIENTS[1] @ bases[1]
    step = bases[0] @ turned.sign() @ bases[1].T  # with bias correction, Adam's first step is the sign
    expected = (START - 0.01 * step) * (1 - 0.01 * 0.1)
    first = trained_tensor("soap", START, GRADIENTS[:1], lr=0.01, weight_decay=0.1)
    assert torch.equal(first, START)
    # One eigenvalue is zero; the sign of its eigenvector is arbitrary, but cancels in the update.
    second = trained_tensor("soap", START, GRADIENTS[:2], lr=0.01, weight_decay=0.1)
    assert torch.allclose(second, expected, atol=1e-4)


def test_soap_is_charged_for_what_each_update_does():
    m, n, every = 6, 4, 3
    weight, bias = nn.Parameter(torch.randn(m, n)), nn.Parameter(torch.randn(m))
    technique = classes()["soap"](every=every)
    optimizer = technique.build([technique._group("decayed", 0.0) | {"params": [weight, bias]}])
    meter = Meters(nn.Linear(1, 1), SimulatedClock(), 0.0)
    charged = []
    for _ in range(10):
        weight.grad, bias.grad = torch.randn(m, n), torch.randn(m)
        before = meter.spent().flops
        meter.step(1, lambda: optimizer.step() is None, technique.period())
        charged.append(meter.spent().flops - before)
    both = 2 * m * n * (m + n)  # products from both sides; the two covariance products cost the same
    first = both + 9 * (m**3 + n**3)  # covariances and their eigenvectors
    plain = 3 * both + both  # gradient and momentum into the basis, the step out of it; covariances
    corrected = plain + sum(2 * k**3 + 4 * (k**3 - k**3 // 3) for k in (m, n))  # power iteration, QR
    assert charged == [first, plain, plain, corrected, plain, plain, corrected, plain, plain, corrected]


def test_counting_begins_anew_after_surgery():
    meter = Meters(nn.Linear(1, 1), SimulatedClock(), 0.0)
    a, b = torch.ones(2, 2), torch.ones(4, 4)
    for _ in range(4):
        meter.step(1, lambda: (a @ a).shape == (2, 2))
    meter.forget()
    meter.step(1, lambda: (b @ b).shape == (4, 4))
    assert meter.spent().flops == 4 * 2 * 2**3 + 2 * 4**3


def test_a_step_that_the_gradient_scaler_skips_is_not_what_later_ones_cost():
    meter, a = Meters(nn.Linear(1, 1), SimulatedClock(), 0.0), torch.ones(2, 2)
    for _ in range(3):
        meter.step(1, lambda: False)
    assert meter.spent().flops == 0
    for _ in range(3):
        meter.step(1, lambda: (a @ a).shape == (2, 2))
    assert meter.spent().flops == 3 * 2 * 2**3


class Positioned(nn.Module):
    """A model with position embeddings, a class token, and a weight matrix stored transposed."""

    def __init__(self):
        super().__init__()
        conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
        self.positions = nn.Parameter(torch.randn(1, 6, 4))
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.wide, self.hidden, self.head = conv1d(16, 4), nn.Linear(16, 16), nn.Linear(16, 3)


def test_muon_orthogonalizes_matrices_only_and_knows_their_rows():
    model, muon = Positioned(), classes()["muon"]()
    muon.outputs = ["head"]
    split = muon.split(model)
    assert [p.shape for p in split["hidden"]] == [(16, 16)] and [p.shape for p in split["head"]] == [(3, 16)]
    assert [p.shape for p in split["transposed"]] == [(4, 16)]
    assert {(1, 6, 4), (1, 1, 4)} <= {tuple(p.shape) for p in split["rest"]}

    def moved(group, gradient):
        weight = nn.Parameter(torch.zeros_like(gradient))
        optimizer = muon.build([{**muon._group(group, 0.0), "params": [weight]}])
        weight.grad = gradient
        optimizer.step()
        return weight.detach()

    gradient = torch.randn(4, 16)
    assert torch.allclose(moved("transposed", gradient), moved("hidden", gradient.T.contiguous()).T, atol=1e-6)


class HeadFirst(nn.Module):
    """A model that declares the layer that runs last before all others."""

    def __init__(self, head):
        super().__init__()
        self.head = head
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.head(self.second(self.first(x.flatten(1)).relu()).relu())


@pytest.mark.parametrize("kind", [lambda: nn.Linear(8, 2), lambda: weight_norm(nn.Linear(8, 2))])
def test_muons_output_layer_is_the_one_that_runs_last(kind):
    task = Task(model=lambda: HeadFirst(kind()), train=(torch.rand(50, 4), torch.arange(50) % 2))
    context = context_with("muon", task=task)
    groups = {g["name"]: [id(p) for p in g["params"]] for g in context.optimizer.param_groups}
    model = context.model
    assert groups["hidden"] == [id(model.first.weight), id(model.second.weight)]
    assert {id(p) for p in model.head.parameters() if p.dim() > 1} == set(groups["head"])
    context.rebuild()
    assert [id(p) for p in context.optimizer.param_groups[0]["params"]] == groups["hidden"]


def average_by_hand(start, gradients, lr, beta, beta2, decay):
    """Schedule-Free AdamW with all three sequences: gradients at y, steps on z, and x as the mean of z."""
    x, z, square = start.clone(), start.clone(), torch.zeros_like(start)
    for t, g in enumerate(gradients, 1):
        y = (1 - beta) * z + beta * x
        square = beta2 * square + (1 - beta2) * g * g
        z = z - lr * (g / ((square / (1 - beta2**t)).sqrt() + 1e-8) + decay * y)
        x = (1 - 1 / t) * x + z / t
    return x


def test_schedule_free_delivers_the_mean_of_its_steps(tmp_path):
    context = context_with("schedule_free", {"lr": 0.01, "weight_decay": 0.1})
    weight = context.model[1].weight
    start = weight.detach().clone()
    gradients = torch.randn(6, *start.shape)
    for g in gradients:
        for p in context.model.parameters():
            p.grad = torch.zeros_like(p)
        weight.grad = g.clone()
        context.optimizer.step()
    trained = weight.detach().clone()
    expected = average_by_hand(start, gradients, 0.01, 0.9, 0.999, 0.1)
    with context.techniques[0].evaluate(context):
        assert torch.allclose(weight, expected, atol=1e-5)
        assert not torch.allclose(weight, trained, atol=1e-5)
    assert torch.equal(weight, trained)
    finalize(context, tmp_path / "model.safetensors", test=False)
    assert torch.allclose(load_file(tmp_path / "model.safetensors")["1.weight"], expected, atol=1e-5)
    assert context.optimizer.param_groups[0]["train_mode"]


def test_schedule_free_measures_norms_for_its_average():
    context = context_with("schedule_free", task=image_task())
    step = Step(context)
    for start in range(0, 64, 16):
        step(context.fetch(torch.arange(start, start + 16)))
    before = {name: b.clone() for name, b in context.model.named_buffers()}
    flops = context.meter.spent().flops
    with context.techniques[0].evaluate(context):
        assert not torch.equal(context.model[1].running_mean, before["1.running_mean"])
    assert context.meter.spent().flops > flops
    assert all(torch.equal(b, before[name]) for name, b in context.model.named_buffers())


@pytest.mark.parametrize("other", ["linear", "cosine", "rex", "wsd", "one_cycle", "ema"])
def test_schedule_free_refuses_a_second_decay_or_average(other):
    assert check({"schedule_free": {}, other: {}}, catalog())
    assert not check({"schedule_free": {}, "constant": {}}, catalog())


def test_eight_bits_train_like_thirty_two():
    start = torch.randn(64, 64, generator=torch.Generator().manual_seed(3))
    gradients = torch.randn(8, 64, 64, generator=torch.Generator().manual_seed(4))
    small = trained_tensor("adamw8bit", start, gradients, lr=0.01, weight_decay=0.1)
    full = trained_tensor("adamw", start, gradients, lr=0.01, weight_decay=0.1)
    assert (small - full).norm() < 0.1 * (full - start).norm()
    assert not torch.equal(small, full)


def test_eight_bits_take_a_learning_rate_that_moves():
    context = context_with("adamw8bit", {"lr": Schedule(0.1, 0.3)})
    step = Step(context)
    for p, expected in ((0.0, 0.1), (0.5, 0.2)):
        context.p = p
        step(context.fetch(torch.arange(16)))
        assert all(float(group["lr"]) == pytest.approx(expected) for group in context.optimizer.param_groups)


def test_weight_decay_spares_biases_and_embeddings():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    split = decay_split(net, decay_all=False)
    assert [p.shape for p in split["decayed"]] == [(3, 4)]
    assert len(split["no_decay"]) == 2
    assert len(decay_split(net, decay_all=True)["decayed"]) == 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_number_of_an_optimizer_may_be_a_schedule(name):
    numbers = {k: Schedule(0.1, 0.3) for k, p in catalog()[name].parameters.items() if p.scheduled}
    context = context_with(name, numbers)
    (optimizer,) = [t for t in context.techniques if t.info.component == "optimizer"]
    assert "lr" in numbers
    for p, expected in ((0.0, 0.1), (0.5, 0.2), (1.0, 0.3)):
        context.p = p
        with optimizer.step(context):
            groups = context.optimizer.param_groups
        assert all(group["initial_lr"] == pytest.approx(expected) for group in groups)
        decays = {round(group["weight_decay"], 6) for group in groups}
        assert decays == {0.0, round(expected, 6) if "weight_decay" in numbers else optimizer.weight_decay}


def weights_along(name, rebuilt):
    context = context_with(name)
    step = Step(context)
    seen = []
    for made in range(8):
        if made == rebuilt:
            context.rebuild()
        step(context.fetch(torch.arange(16)))
        seen.append(context.model[1].weight.detach().clone())
    return seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_that_is_built_anew_goes_on(name):
    through, anew = weights_along(name, None), weights_along(name, 5)
    if name != "schedule_free":
        assert all(torch.equal(a, b) for a, b in zip(through, anew, strict=True))
    else:  # it restarts, with steps of the same size as before
        expected, step = (weights[5] - weights[4] for weights in (through, anew))
        assert 0.3 < step.norm() / expected.norm() < 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_new_parameters_in(name):
    context = context_with(name)
    step = Step(context)
    usual = 0.0
    for made in range(8):
        if made == 4:
            context.model[3] = nn.Linear(8, 2)
            context.rebuild()
        before = [p.detach().clone() for p in context.model.parameters()]
        step(context.fetch(torch.arange(16)))
        moved = [
            float((p.detach() - b).abs().max()) for p, b in zip(context.model.parameters(), before, strict=True)
        ]
        usual = max(usual, *moved) if made < 4 else usual
        assert all(0 < m < 4 * usual for m in moved) or made == 0
