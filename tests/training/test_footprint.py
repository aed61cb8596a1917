"""What is measured of a saved model: latency, size, memory, other metrics."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.goal import LATENCY, MEMORY, SIZE
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.training.data.task import Task
from autoaccel.training.profile import profile_task
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

MB = 1e6


def deep(depth=4, width=256):
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(8, width), *layers, nn.Linear(width, 2))


class Slow(nn.Module):
    def __init__(self, times=100):
        super().__init__()
        self.head, self.body, self.times = nn.Linear(8, 2), nn.Linear(256, 256), times

    def forward(self, x):
        many = x.repeat(1, 32)
        for _ in range(self.times):
            many = self.body(many)
        return self.head(x) + many.mean() * 0


def table(model=deep):
    x = torch.rand(400, 8, generator=torch.Generator().manual_seed(0))
    return Task(model=model, train=(x, (x.sum(1) > 4).long()), space={"depth": [4, 8], "width": [256, 512]})


def outcome_of(task, folder, model=None, recipe=PLAIN["plain"], measure=(LATENCY, SIZE, MEMORY), steps=20):
    recipe = recipe if model is None else replace(recipe, model=model)
    request = TrialRequest(0, recipe, Budget(steps=steps), measure=measure)
    outcome = run_trial(task, request, TrialEnvironment(SystemClock(), 0.0, lambda _: True, folder, cpu=True))
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    return outcome


def test_the_size_is_that_of_the_file(tmp_path):
    outcome = outcome_of(table(), tmp_path, measure=(SIZE,))
    assert outcome.measured == {SIZE: (tmp_path / "model.safetensors").stat().st_size / MB}


def test_a_model_twice_as_deep_takes_twice_as_much(tmp_path):
    shallow = outcome_of(table(), tmp_path / "a", {"depth": 4}).measured
    twice = outcome_of(table(), tmp_path / "b", {"depth": 8}).measured
    assert 1.8 < twice[SIZE] / shallow[SIZE] < 2.1
    assert 1.8 < twice[MEMORY] / shallow[MEMORY] < 2.1


def test_a_forward_three_times_as_long_has_three_times_the_latency(tmp_path):
    def least(times):  # other processes only ever make a forward slower
        task = Task(model=lambda: Slow(times), train=table().train)
        found = [outcome_of(task, tmp_path / str(i), measure=(LATENCY,), steps=1).measured for i in range(6)]
        return min(each[LATENCY] for each in found)

    assert 2.0 < least(150) / least(50) < 4.5


def test_memory_is_the_weights_and_the_largest_activations_alive_at_once(tmp_path):
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            large = x[:, :1].expand(len(x), 1_000_000) * 1.0  # 4 MB
            larger = large + 1  # 8 MB are alive
            del large
            return self.head(x) + larger.mean()

    measured = outcome_of(table(Wide), tmp_path, measure=(MEMORY,), steps=2).measured
    assert measured[MEMORY] == pytest.approx(8.0, rel=0.01)


def test_what_is_measured_is_the_compressed_form(tmp_path):
    recipe = PLAIN["plain"]
    int8 = replace(recipe, techniques={"quantization": {"at": 0.6, "output": True}})
    whole = outcome_of(table(), tmp_path / "a").measured
    small = outcome_of(table(), tmp_path / "b", recipe=int8).measured
    assert small[SIZE] < 0.3 * whole[SIZE]
    assert small[MEMORY] < whole[MEMORY] * 0.8  # a layer's weights are in floating point while it computes


def test_other_metrics_are_those_of_the_saved_model_on_validation(tmp_path):
    outcome = outcome_of(table(), tmp_path, measure=("accuracy", "recall", "loss"), steps=100)
    assert outcome.measured["accuracy"] == outcome.final.metric
    assert outcome.measured["loss"] == pytest.approx(outcome.final.loss)
    assert 0 < outcome.measured["recall"] <= 1


def test_measuring_is_charged_to_the_trial(tmp_path):
    slow = Task(model=Slow, train=table().train)
    plain, measured = (outcome_of(slow, tmp_path / str(len(m)), measure=m, steps=2) for m in ((), (LATENCY,)))
    assert measured.cost.flops > plain.cost.flops
    assert measured.measured[LATENCY] > 0.1


def test_the_profile_knows_what_measuring_costs():
    facts = [profile_task(table(), SystemClock(), 0.0, 0, True, None, m) for m in ((), (LATENCY, "recall"))]
    assert facts[0].measuring.seconds == 0 < facts[1].measuring.seconds
    assert facts[1].finalization_cost(test=False).seconds > facts[0].finalization_cost(test=False).seconds


def test_an_unknown_quantity_is_refused_before_anything_is_trained():
    with pytest.raises(
        TaskError, match=r"--subject-to recal: unknown metric 'recal'.*did you mean 'recall'.*latency_ms"
    ):
        profile_task(table(), SystemClock(), 0.0, 0, True, None, ("recal",))


def test_no_folder_no_measurement():
    request = TrialRequest(0, PLAIN["plain"], Budget(steps=3), measure=(SIZE,))
    assert run_trial(table(), request, TrialEnvironment(SystemClock(), 0.0, lambda _: True)).measured == {}
    assert not Path("model.safetensors").exists()
