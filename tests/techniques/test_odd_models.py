"""Every technique that reads or writes weights works with models of unusual kinds, or leaves their layers alone."""

import pytest
import torch
from odd_models import MODELS, Bag, odd_task
from sample_tasks import MACHINE
from torch import nn

from autoaccel.core.catalog import REFERENCE
from autoaccel.core.clock import SimulatedClock
from autoaccel.techniques.registry import build, catalog
from autoaccel.testing import check_technique
from autoaccel.testing.techniques import alone
from autoaccel.training.build import assemble
from autoaccel.training.data.capabilities import task_capabilities
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task
from autoaccel.training.loop import Step

# Torch announces what is new or old in these models, once a process.
pytestmark = pytest.mark.filterwarnings("default")

OPTIMIZERS = [n for n, info in catalog().items() if info.component == "optimizer" and info.available]
WRITERS = [
    *("ema", "lawa", "lookahead", "sam", "clip", "shrink_perturb", "warm_start", "lora", "quantization", "dirac"),
    *("magnitude_pruning", "structured_pruning", "layer_freezing", "whitening"),
]
PAIRS = [
    *((name, "sparse_gradients") for name in (*OPTIMIZERS, "clip", "sam")),
    *((name, "complex") for name in (*OPTIMIZERS, *WRITERS)),
    *(("adamw", name) for name in MODELS),
    *((writer, name) for writer in WRITERS for name in ("weight_norm", "old_weight_norm", "normed_convolutions")),
]


@pytest.mark.parametrize(("name", "model"), dict.fromkeys(PAIRS))
def test_a_technique_keeps_its_contract_on_an_odd_model(name, model):
    info, task = catalog()[name], odd_task(model)
    asked = info.requires - MACHINE - {REFERENCE}
    made = build_model(task, {})
    if not info.available or not asked <= task_capabilities(task, prepare(task, made, 0), made, asked):
        pytest.skip("not offered")
    check_technique(name, task, steps=6)


def step_with(optimizer, make, x, y):
    task = Task(model=make, train=(x, y), valid=(x, y))
    recipe = alone(optimizer, {"lr": 0.01})
    context = assemble(task, build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    take = Step(context)
    for _ in range(4):
        take(context.fetch(torch.arange(len(x))))
    return [p.detach() for p in context.model.parameters()]


class Dense(Bag):
    """The same model with dense gradients."""

    def __init__(self):
        super().__init__()
        self.table.sparse = self.bag.sparse = False

    def forward(self, x):
        return self.head(self.table(x).mean(1) + self.bag(x) + nn.functional.embedding(x, self.free).mean(1))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sparse_gradients_train_as_dense_ones_do(optimizer):
    x = torch.arange(64).view(8, 8) % 20
    y = torch.arange(8) % 3
    sparse, dense = (step_with(optimizer, kind, x, y) for kind in (Bag, Dense))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(sparse, dense, strict=True))


class Complex(nn.Module):
    """A complex weight, or its real and its imaginary part as weights of their own."""

    def __init__(self, whole):
        super().__init__()
        start = torch.randn(4, 3, dtype=torch.cfloat, generator=torch.Generator().manual_seed(0))
        self.parts = nn.ParameterList([start] if whole else [start.real.clone(), start.imag.clone()])

    def forward(self, x):
        weight = self.parts[0] if len(self.parts) == 1 else torch.complex(*self.parts)
        return (x.to(torch.cfloat) @ weight).abs()


@pytest.mark.parametrize("optimizer", ["adamw", "nadamw", "sgd", "lion", "schedule_free", "muon"])
def test_a_complex_weight_trains_as_its_two_parts_do(optimizer):
    if not catalog()[optimizer].available:
        pytest.skip("needs an extra")
    x, y = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    (whole,) = step_with(optimizer, lambda: Complex(True), x, y)
    if optimizer == "muon":  # orthogonalizes neither, and the two real parts would be hidden matrices
        assert torch.isfinite(whole).all()
        return
    real, imaginary = step_with(optimizer, lambda: Complex(False), x, y)
    assert torch.allclose(whole, torch.complex(real, imaginary), atol=1e-5)
