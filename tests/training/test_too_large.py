"""A model that does not fit on one device is refused by the profile and by `check`, and one that just fits is not."""

import gc
import weakref

import pytest
import torch
from torch import nn

from autoaccel import Task
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.goal import FOOTPRINT
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.training.profile import profile_task
from autoaccel.training.rehearsal import rehearse
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB"


class Limited(nn.Linear):
    """A layer with memory for a few samples at a time in training."""

    def __init__(self, most, moved=True):
        super().__init__(4, 2)
        self.most, self.moved = most, moved

    def to(self, *arguments, **named):
        if not self.moved:
            raise torch.OutOfMemoryError(CUDA)
        return super().to(*arguments, **named)

    def forward(self, x):
        if self.training and len(x) > self.most:
            raise torch.OutOfMemoryError(CUDA)
        return super().forward(x)


def task(**limits):
    x = torch.rand(200, 4)
    return Task(model=lambda: Limited(**limits), train=(x, (x.sum(1) > 2).long()))


def profiled(task):
    clock = SystemClock()
    return profile_task(task, clock, clock.now(), 0, cpu=True)


@pytest.mark.parametrize("look", [profiled, lambda task: rehearse(task, cpu=True)], ids=["profile", "check"])
@pytest.mark.parametrize("limits", [{"most": 0}, {"most": 9, "moved": False}], ids=["training", "moving"])
def test_a_model_that_does_not_fit_is_refused_with_what_is_missing(look, limits):
    with pytest.raises(TaskError, match=r"does not fit in the memory .*20.00 GiB.*FSDP"):
        look(task(**limits))


@pytest.mark.parametrize("look", [profiled, lambda task: rehearse(task, cpu=True)], ids=["profile", "check"])
def test_a_model_that_fits_a_sample_at_a_time_is_not_refused(look):
    look(task(most=1))


class Alone(nn.Linear):
    """A layer beside whose like there is no room on the device."""

    there = weakref.WeakSet()

    def __init__(self):
        super().__init__(4, 2)

    def to(self, *arguments, **named):
        gc.collect()
        if self.there - {self}:
            raise torch.OutOfMemoryError(CUDA)
        self.there.add(self)
        return super().to(*arguments, **named)

    def cpu(self):
        self.there.discard(self)
        return super().cpu()


def test_what_is_measured_of_a_model_has_the_device_for_itself(tmp_path):
    x, clock = torch.rand(200, 4), SystemClock()
    alone = Task(model=Alone, train=(x, (x.sum(1) > 2).long()))
    facts = profile_task(alone, clock, clock.now(), 0, cpu=True, measured=FOOTPRINT)
    assert facts.measuring.seconds > 0
    Alone.there.clear()
    request = TrialRequest(0, PLAIN["plain"], Budget(steps=5), measure=FOOTPRINT)
    outcome = run_trial(alone, request, TrialEnvironment(clock, 0.0, lambda _: True, tmp_path, cpu=True))
    assert outcome.kind is OutcomeKind.COMPLETE and set(outcome.measured) == set(FOOTPRINT), outcome.reason


def test_other_errors_are_told_as_they_are():
    def loss(output, targets):
        raise RuntimeError("my own")

    x = torch.rand(200, 4)
    with pytest.raises(TaskError, match="my own") as refused:
        profiled(Task(model=lambda: nn.Linear(4, 2), train=(x, (x.sum(1) > 2).long()), loss=loss))
    assert "fit" not in str(refused.value)
