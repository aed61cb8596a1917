"""Meters: what is booked by whom, and what a registered one may be called and read."""

import math
from typing import ClassVar

import pytest
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.errors import TaskError, UsageError
from autoaccel.training.meters import meters as module
from autoaccel.training.meters.base import Meter
from autoaccel.training.meters.meters import Meters, register


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
    meters.step(8, lambda: True)
    spent = meters.spent()
    assert (spent["tokens"], spent["joules"], spent["samples"], spent["steps"]) == (320, 7, 32, 1)


@pytest.mark.parametrize("name", ["seconds", "epochs", "trial", "loss", "kilo watt"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(UsageError, match="cannot be called"):
        register(type("Mine", (Meter,), {"quantity": name}))


@pytest.mark.parametrize("amount", [math.nan, math.inf])
def test_a_meter_that_reads_nonsense_is_named(amount):
    register(type("Mine", (Meter,), {"quantity": "mine", "read": lambda self: amount}))
    with pytest.raises(TaskError, match="the meter of mine reads"):
        metered().spent()
