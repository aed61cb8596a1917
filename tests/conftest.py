"""Fixtures: each test begins as a process of its own would, and some run on one thread."""

import os

import pytest
import torch
from accelerate.state import AcceleratorState

os.environ["AUTOACCEL_MEMORY"] = (
    "off"  # for the processes that tests start too: the user's own is none of our business
)


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Reset Accelerate's process-wide state; in a run, every trial has its own process."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def one_thread():
    """The models are tiny, and threads that wait for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
