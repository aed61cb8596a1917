"""What torch can train on, as torch and the driver tell it, and where they do not."""

import os
from types import SimpleNamespace

import pytest
import torch

from autoaccel.core.machine import VISIBLE, Gpu, usable_cpus
from autoaccel.errors import MachineError
from autoaccel.execution.local import looking
from autoaccel.execution.local.looking import Looking
from autoaccel.execution.machine import find_machine


@pytest.fixture
def cuda(monkeypatch):
    """Return what makes torch see so many GPUs."""
    monkeypatch.delenv(VISIBLE, raising=False)

    def see(count):
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "init", lambda: None)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda n: SimpleNamespace(name=f"H{200 + n}", total_memory=n)
        )

    return see


@pytest.mark.parametrize(
    ("shown", "count", "names"),
    [
        (None, 3, ["0", "1", "2"]),
        ("2,5", 2, ["2", "5"]),
        ("GPU-a, GPU-b", 2, ["GPU-a", "GPU-b"]),
        ("1,-1,3", 1, ["1"]),
        ("MIG-a,MIG-b,MIG-c", 1, ["MIG-a", "MIG-b", "MIG-c"]),
        ("GPU-a,MIG-b", 1, ["GPU-a"]),
        ("", 0, []),
        ("NoDevFiles", 0, []),
    ],
)
def test_gpus_are_called_what_the_user_calls_them(cuda, monkeypatch, shown, count, names):
    cuda(count)
    if shown is not None:
        monkeypatch.setenv(VISIBLE, shown)
    found = find_machine()
    assert [gpu.name for gpu in found.gpus] == names and found.cpus == usable_cpus()
    assert [gpu.model for gpu in found.gpus] == [f"H{200 + min(n, count - 1)}" for n in range(len(names))]


def test_another_variable_would_hide_which_gpu_a_trial_has(cuda, monkeypatch):
    cuda(2)
    monkeypatch.setattr(torch.version, "hip", "6.2")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    with pytest.raises(MachineError, match="HIP_VISIBLE_DEVICES is set; set CUDA_VISIBLE_DEVICES instead"):
        find_machine()


def test_another_process_looks(cuda):
    cuda(2)
    assert Looking(cpu=False).found().gpus == (Gpu("0", "H200", 0), Gpu("1", "H201", 1))
    assert Looking(cpu=True).found().gpus == ()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_the_users_file_chooses_gpus_a_fresh_process_looks(cuda, monkeypatch):
    """It imports torch anew, which sees none here."""
    cuda(2)
    begun = Looking(cpu=False)
    monkeypatch.setenv(VISIBLE, "1")
    assert begun.found().gpus == ()


def test_a_look_that_fails_is_repeated_and_then_told_in_a_line(cuda, monkeypatch):
    def fails(number):
        raise RuntimeError("CUDA driver\nis too old")

    cuda(1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", fails)
    monkeypatch.setattr(looking, "_fresh", looking._look)
    with pytest.raises(MachineError, match=r"\(RuntimeError: CUDA driver is too old\); `--devices cpu` does"):
        Looking(cpu=False).found()


def test_a_driver_that_hangs_is_given_up(cuda, monkeypatch):
    cuda(1)
    monkeypatch.setattr(torch.cuda, "init", lambda: os.kill(os.getpid(), 19))
    monkeypatch.setattr(looking, "PATIENCE", 0.5)
    monkeypatch.setattr(looking, "_fresh", lambda: "the driver did not answer")
    with pytest.raises(MachineError, match="did not answer"):
        Looking(cpu=False).found()
