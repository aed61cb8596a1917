"""A machine is divided among trials, and none shares a GPU with another."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoaccel.core import machine as machines
from autoaccel.core.machine import Gpu, Machine, usable_cpus
from autoaccel.core.resources import Resources, Slots
from autoaccel.errors import UsageError

H200 = "NVIDIA H200"


def machine(gpus=0, cpus=16):
    return Machine(tuple(Gpu(str(number), H200, 2**37) for number in range(gpus)), cpus)


@pytest.fixture(autouse=True)
def no_threads_told(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@given(
    st.integers(0, 9),
    st.integers(1, 200),
    st.none() | st.integers(1, 20),
    st.lists(st.integers(0, 9), max_size=4, unique=True),
)
def test_each_trial_has_a_gpu_and_threads_of_its_own(gpus, cpus, workers, devices):
    there = machine(gpus, cpus)
    try:
        slots = Resources(tuple(devices), workers=workers).slots(there)
    except UsageError:
        assert devices or (gpus and (workers or 1) > gpus)
        return
    assert slots.count == len(slots.devices) == (workers or len(devices) or gpus or 1)
    assert len(set(slots.gpus)) == len(slots.gpus) in (0, slots.count)
    assert bool(slots.gpus) == bool(gpus)
    assert slots.threads == max(1, cpus // slots.count)
    assert not devices or slots.gpus == tuple(there.gpus[number] for number in devices)


def test_all_gpus_are_used_unless_told_otherwise():
    slots = Resources().slots(machine(8, 64))
    assert slots.devices == tuple("01234567") and slots.threads == 8
    assert str(slots) == "8 trials side by side, each with a GPU and 8 threads"
    assert str(Resources(workers=2).slots(machine(8))) == (
        "2 trials side by side, each with a GPU and 8 threads; 6 GPUs are left idle"
    )
    assert Resources(workers=5, sharing=True).slots(machine(2)).devices == tuple("01010")
    assert Resources(cpu=True).slots(machine(8)).devices == ("",)
    assert Resources(cpu=True, workers=3).slots(machine(8)) == Slots(3, 5, most=16)


@pytest.mark.parametrize(
    ("asked", "gpus", "message"),
    [
        (Resources((0, 9)), 8, "--devices 9: there are 8, numbered from 0"),
        (Resources((1,)), 1, "--devices 1: there is 1, numbered from 0"),
        (Resources((0,)), 0, "--devices 0: torch finds no GPU"),
        (Resources(workers=9), 8, "--workers 9: each trial needs a GPU of its own, and there are 8"),
        (
            Resources((4, 5), workers=3),
            8,
            "--workers 3: each trial needs a GPU of its own, and there are 2 in --dev",
        ),
        (
            Resources((0, 1, 2), workers=2),
            8,
            "--devices has 3 GPUs for 2 trials at a time, each of which",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(asked, gpus, message):
    with pytest.raises(UsageError, match=message):
        asked.slots(machine(gpus))


@pytest.mark.parametrize(
    ("told", "threads"), [("3", 3), ("64", 8), ("4,2", 4), ("0", 8), ("many", 8), ("9" * 5000, 8), ("", 8)]
)
def test_no_trial_has_more_threads_than_the_user_allows(told, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert Resources(workers=2).slots(machine()).threads == threads


def test_a_machine_is_described_in_a_line():
    mixed = Machine((Gpu("0", H200), Gpu("1", H200), Gpu("2", "NVIDIA L4")), 16)
    assert str(mixed) == "2 x NVIDIA H200, 1 x NVIDIA L4, 16 CPUs" and str(Machine()) == "1 CPU"


@pytest.mark.parametrize(("quota", "cpus"), [(float("inf"), 64), (2.0, 2), (1.5, 2), (0.1, 1), (100.0, 64)])
def test_a_quota_limits_the_cpus(quota, cpus, monkeypatch):
    """A container with 2 of 64 CPUs must not start 64 threads."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(machines, "cpu_quota", lambda: quota)
    assert usable_cpus() == cpus


def test_a_trial_with_several_places_has_their_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    slots = Resources(cpu=True, workers=4).slots(Machine((), 8))
    assert [slots.threads_of(4, processes) for processes in (1, 2, 4)] == [8, 4, 2]
    assert slots.threads_of(1, 1) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    slots = Resources(cpu=True, workers=4).slots(Machine((), 8))
    assert [slots.threads_of(4, processes) for processes in (1, 2, 4)] == [3, 3, 2]
