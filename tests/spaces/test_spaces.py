"""Recipes of every shipped space build, train and follow their schedules."""

import math

import pytest
import torch
from accelerate.state import AcceleratorState
from autoaccel.search_spaces import names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_tasks import image_task, residual_net, table_task, token_task, transformer

from autoaccel import SearchSpace
from autoaccel.core.catalog import REFERENCE, check
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.schedules import Schedule
from autoaccel.techniques.registry import build, catalog
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import prepare_context, set_up
from autoaccel.training.data.capabilities import task_capabilities
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.loop import Step

TASKS = {
    "vision": lambda: image_task(residual_net),
    "text": lambda: token_task(transformer),
    "tabular": table_task,
    "finetune": lambda: image_task(residual_net),
    "minimal": table_task,
}
FEW = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


def fitted(name):
    task = TASKS[name]()
    model = build_model(task, {})
    capabilities = task_capabilities(task, prepare(task, model, 0), model)
    space, _ = SearchSpace.load(name).for_task(capabilities)
    return task, capabilities, space


def trains(task, capabilities, recipe, count=True):
    """Train one step at the start, the middle and the end of progress; counting FLOPs takes a part of the time."""
    assert not check(recipe.chosen(), catalog(), capabilities | {REFERENCE})
    AcceleratorState._reset_state(reset_partial_state=True)
    techniques = build(recipe.chosen())
    context = prepare_context(task, techniques, recipe.model, 0, 0, SimulatedClock(), 0.0, cpu=True)
    if any(REFERENCE in technique.info.requires for technique in techniques):
        context.teacher = build_model(task, {}).eval().requires_grad_(False)
    if not count:
        context.meter._flops.flops_of = lambda *_: 1.0
    set_up(context, cpu=True)
    take, batches = Step(context), iter(BatchSampler(context, 0))
    context.model.train()
    for p in (0.0, 0.5, 1.0):
        context.p, factor, optimizer = p, context.lr_factor, context.optimizer
        take(next(batches))
        if context.optimizer is optimizer:  # model surgery rebuilds it
            follows_schedules(context, recipe, p, factor)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in context.model.parameters()), recipe
    AcceleratorState._reset_state(reset_partial_state=True)


def follows_schedules(context, recipe, p, factor):
    rate = rate_factor(recipe.learning_rate, p) * factor
    for group in context.optimizer.param_groups:
        peak = group["initial_lr"] * group.get("lr_scale", 1.0)
        assert float(group["lr"]) == pytest.approx(peak * rate, rel=1e-6, abs=1e-12)
    for parameters in recipe.chosen().values():
        for number in parameters.values():
            if isinstance(number, Schedule) and p in (0.0, 1.0) and 0 < number.since <= number.until <= 1:
                assert number(p) == (number.start if p == 0 else number.end)


def rate_factor(choice, p):
    """The factor of the learning rate, computed from the definitions of the schedules."""
    given = {**{name: p.default for name, p in catalog()[choice.name].parameters.items()}, **choice.parameters}
    warmup, floor = given["warmup"], given.get("floor", 0.0)
    if p < warmup:
        return 0.02 + 0.98 * p / warmup
    t = (p - warmup) / (1 - warmup)
    if choice.name == "wsd":
        since = max(warmup, 1 - given["cooldown"])
        return 1.0 if p <= since else 1 - math.sqrt((p - since) / (1 - since))
    shapes = {
        "linear": 1 - t,
        "cosine": (1 + math.cos(math.pi * t)) / 2,
        "one_cycle": (1 + math.cos(math.pi * t)) / 2,
        "rex": (1 - t) / (0.5 + 0.5 * (1 - t)),
        "constant": 1.0,
    }
    return floor + (1 - floor) * shapes[choice.name]


@pytest.mark.parametrize("name", names())
def test_a_few_recipes_of_each_space_train(name):
    task, capabilities, space = fitted(name)

    @FEW
    @given(st.integers(0, 2**32 - 1))
    def check_seed(seed):
        trains(task, capabilities, space.sample(seed))

    check_seed()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", names())
def test_many_recipes_of_each_space_train(name):
    task, capabilities, space = fitted(name)

    @MANY
    @given(st.integers(0, 2**32 - 1))
    def check_seed(seed):
        trains(task, capabilities, space.sample(seed), count=False)

    check_seed()


@pytest.mark.parametrize("name", names())
def test_portfolio_recipes_lie_in_their_space_and_train(name):
    task, capabilities, space = fitted(name)
    assert len(space.portfolio) >= 3
    for recipe in space.portfolio.values():
        chosen = space.fit(recipe)
        assert chosen is not None
        if not any(catalog()[technique].requires - capabilities - {REFERENCE} for technique in chosen.chosen()):
            trains(task, capabilities, chosen)
