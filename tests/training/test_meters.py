"""Meters: what is booked by whom, and what a registered one may be called and read."""

import math
from typing import ClassVar

import pytest
import torch
from odd_models import Graph, Locked, Remembering
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.errors import TaskError, UsageError
from autoaccel.training.meters import meters as module
from autoaccel.training.meters.base import Meter
from autoaccel.training.meters.meters import Meters, register

# Torch announces what is new or old in these models, once a process: whichever test comes first would fail.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def nothing_stays_registered(monkeypatch):
    monkeypatch.setattr(module, "_REGISTERED", {})


def metered(world=1):
    return Meters(nn.Linear(2, 2), SimulatedClock(), 0.0, world)


def test_each_process_books_for_all_but_what_all_read_alike():
    @register
    class Tokens(Meter):
        quantity: ClassVar[str] = "tokens"

        def __init__(self):
            self.count = 0

        def read(self):
            return self.count

        def step(self, samples):
            self.count += 10 * samples

    @register
    class Joules(Meter):
        quantity: ClassVar[str] = "joules"
        shared: ClassVar[bool] = True

        def read(self):
            return 7.0

    meters = metered(world=4)
    meters.step(30, lambda: True, share=8)
    spent = meters.spent()
    assert (spent["tokens"], spent["joules"], spent["samples"], spent["steps"]) == (320, 7, 30, 1)


@pytest.mark.parametrize("name", ["seconds", "epochs", "trial", "loss", "kilo watt"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(UsageError, match="cannot be called"):
        register(type("Mine", (Meter,), {"quantity": name}))


@pytest.mark.parametrize("amount", [math.nan, math.inf])
def test_a_meter_that_reads_nonsense_is_named(amount):
    register(type("Mine", (Meter,), {"quantity": "mine", "read": lambda self: amount}))
    with pytest.raises(TaskError, match="the meter of mine reads"):
        metered().spent()


def test_a_model_that_cannot_be_copied_is_counted_where_it_is_and_stays_as_it_is():
    for model, size in ((Locked(), 8 * 16 + 16 * 3), (Remembering(), 8 * 16 + 16 * 3)):
        x = torch.randn(10, 8)
        model(x).sum().backward()
        state = {name: t.clone() for name, t in model.state_dict().items()}
        gradients, random = [p.grad.clone() for p in model.parameters()], torch.get_rng_state()
        meters = Meters(model, SimulatedClock(), 0.0)
        assert meters.flops_of(x, backward=False) == 2 * 10 * size
        assert meters.flops_of(x, backward=True) == 2 * 10 * (3 * size - 8 * 16)
        assert not meters.flops_estimated
        assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
        assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
        assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_products_with_a_sparse_matrix_cost_its_nonzeros(layout):
    meters = Meters(Graph(layout), SimulatedClock(), 0.0)
    rest = 2 * 10 * (8 * 16 + 16 * 3)
    assert meters.flops_of(torch.zeros(10, 8), backward=False) == rest + 2 * 15 * 10


class Uncountable(nn.Module):
    """A model that runs only where nothing watches its operations."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 3)

    def forward(self, x):
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise SystemError("no operation of mine is to be watched")
        return self.body(x)


def test_a_model_whose_flops_cannot_be_counted_gets_an_estimate_that_says_so():
    meters = Meters(Uncountable(), SimulatedClock(), 0.0)
    assert not meters.flops_estimated
    assert meters.flops_of(torch.zeros(10, 8), backward=False) == 2 * 10 * 27
    assert meters.flops_of(torch.zeros(10, 8), backward=True) == 3 * 2 * 10 * 27
    assert meters.flops_estimated


def test_every_output_counts_its_backward():
    class Two(nn.Linear):
        def forward(self, x):
            return {"main": super().forward(x), "more": (x, [super().forward(x)])}

    meters = Meters(Two(8, 3), SimulatedClock(), 0.0)
    assert meters.flops_of(torch.zeros(10, 8), backward=True) == 2 * 2 * 2 * 10 * 24


@pytest.mark.parametrize("seed", range(20))
def test_a_training_that_goes_on_reads_the_same_to_the_last_bit(seed):
    """Also beyond 2^53 FLOPs, from where on sums of whole numbers are rounded."""

    @register
    class Work(Meter):
        quantity: ClassVar[str] = "work"

        def __init__(self):
            self.count = 0.0

        def read(self):
            return self.count

        def step(self, samples):
            self.count += samples

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    steps = torch.randint(10**14, 10**17, (252,), generator=torch.Generator().manual_seed(seed)).tolist()
    whole, goes_on = metered(), metered()
    for step in steps[:12]:
        whole.step(step, lambda: True)
    goes_on.load_state_dict(whole.state_dict(), whole.spent())
    for step in steps[12:]:
        whole.step(step, lambda: True)
        goes_on.step(step, lambda: True)
        assert goes_on.spent()["work"] == whole.spent()["work"]
