"""Decoupling the learning rate, weight decay and batch size from one another."""

import pytest
import torch
from sample_tasks import image_task

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.schedules import Schedule
from autoaccel.techniques.registry import build
from autoaccel.training.build import assemble


def group_after_a_step(lr=1e-2, weight_decay=0.1, size=64, **decoupled):
    recipe = Recipe(
        Choice("adamw", {"lr": lr, "weight_decay": weight_decay}),
        Choice("constant"),
        Choice("constant_batch", {"size": size}),
        {"decoupled": decoupled},
    )
    context = assemble(image_task(), build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    for p in context.model.parameters():
        p.grad = torch.zeros_like(p)
    before = context.model[0].weight.detach().clone()
    for technique in (t for t in context.techniques if t.info.name in ("adamw", "decoupled", "constant")):
        with technique.step(context):
            pass
    context.optimizer.step()
    shrunk = 1 - float((context.model[0].weight.detach() / before).mean())
    return context.optimizer.param_groups, shrunk


@pytest.mark.parametrize("lr", [1e-3, 1e-2, 1e-1])
def test_the_decay_of_a_step_does_not_depend_on_the_learning_rate(lr):
    assert group_after_a_step(lr)[1] == pytest.approx(1e-3 * 0.1, rel=1e-2)


def test_a_scheduled_decay_is_taken_as_it_stands_now():
    groups, shrunk = group_after_a_step(weight_decay=Schedule(0.2, 0.0))
    assert shrunk == pytest.approx(1e-3 * 0.2, rel=1e-2)
    assert groups[0]["stated_decay"] == 0.2


def test_by_itself_it_does():
    assert group_after_a_step(1e-2, decay="with_rate")[1] == pytest.approx(1e-2 * 0.1, rel=1e-2)


@pytest.mark.parametrize(("rule", "factor"), [("none", 1.0), ("sqrt", 2.0), ("linear", 4.0)])
def test_the_learning_rate_follows_the_batch_size(rule, factor):
    groups, _ = group_after_a_step(size=256, rule=rule)
    assert groups[0]["lr"] == pytest.approx(1e-2 * factor)


def test_vectors_have_a_factor_of_their_own():
    groups, _ = group_after_a_step(vectors=8.0)
    by_name = {group["name"]: group["lr"] for group in groups}
    assert by_name["no_decay"] == pytest.approx(8 * by_name["decayed"])


def test_a_factor_that_would_act_on_nothing_is_refused():
    recipe = Recipe(Choice("adamw", {"decay_all": True}), techniques={"decoupled": {"vectors": 4.0}})
    with pytest.raises(ValueError, match="decay_all to false"):
        assemble(image_task(), build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
