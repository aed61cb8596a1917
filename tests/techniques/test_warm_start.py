"""Warm starts: whose weights are used, and how much they are perturbed."""

import pytest
import torch
from delivery import net, net_task
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.techniques.registry import build
from autoaccel.techniques.shared.quantized import store_int8
from autoaccel.training.build import prepare_context, set_up


def started(name, teacher=None, **parameters):
    techniques = build(Recipe(techniques={name: parameters}).chosen())
    context = prepare_context(net_task(), techniques, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    context.teacher = teacher
    before = {name: t.clone() for name, t in context.model.state_dict().items()}
    set_up(context, cpu=True)
    return before, context.model.state_dict(), context


def test_matrices_are_shrunk_and_the_rest_stays():
    before, after, _ = started("shrink_perturb", shrink=0.5, noise=0.0)
    for name, weight in before.items():
        wanted = 0.5 * weight if weight.dim() > 1 else weight
        assert torch.equal(after[name], wanted), name


def test_noise_has_its_share_of_each_matrix_and_is_the_same_for_every_rank():
    before, after, _ = started("shrink_perturb", shrink=1.0, noise=0.3)
    moved = after["7.weight"] - before["7.weight"]
    assert moved.std() == pytest.approx(0.3 * before["7.weight"].std().item(), rel=0.05)
    _, again, _ = started("shrink_perturb", shrink=1.0, noise=0.3)
    assert torch.equal(after["7.weight"], again["7.weight"])


def test_a_finished_model_is_taken_over_with_its_buffers():
    teacher = net()
    teacher[1].running_mean.fill_(3.0)
    _, after, context = started("warm_start", teacher, shrink=1.0, noise=0.0)
    assert all(torch.equal(t, after[name]) for name, t in teacher.state_dict().items())
    assert context.meter.spent().flops == 0


def test_a_quantized_model_is_taken_over_in_floats():
    teacher = net()
    store_int8(teacher[3])
    _, after, _ = started("warm_start", teacher, shrink=1.0, noise=0.0)
    torch.testing.assert_close(after["3.weight"], teacher[3].weight)


def test_what_does_not_fit_is_left_and_nothing_fitting_is_an_error():
    teacher = net()
    teacher[9] = nn.Linear(256, 5)
    before, after, _ = started("warm_start", teacher, shrink=1.0, noise=0.0)
    assert torch.equal(after["9.weight"], before["9.weight"])
    assert torch.equal(after["7.weight"], teacher[7].weight)
    with pytest.raises(ValueError, match="no weight of the finished model"):
        started("warm_start", nn.Sequential(nn.Linear(2, 2)))
