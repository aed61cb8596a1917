"""Random image augmentations against their definitions, and scheduled dropout."""

import pytest
import torch
from sample_tasks import image_task, net, residual_net
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.core.schedules import Schedule
from autoaccel.techniques.data.policies import Dropout, TrivialAugment
from autoaccel.techniques.registry import build, catalog
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task

needs_kornia = pytest.mark.skipif(not catalog()["trivial_augment"].available, reason="needs the extra image")


def context_with(technique, task=None):
    techniques = sorted([*build(Recipe().chosen()), technique], key=lambda t: t.info.order)
    return assemble(task or image_task(), techniques, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def images(channels, n=32, side=12):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, (side, side), mode="bilinear").clamp(0, 1)


@needs_kornia
@pytest.mark.parametrize("channels", [1, 3])
def test_every_change_keeps_the_shape_and_the_range_and_nothing_is_no_change(channels):
    from autoaccel.techniques.data.policies import changes

    x = images(channels)
    amount = torch.linspace(-1, 1, len(x))
    for number, change in enumerate(changes()):
        made = change(x, amount)
        assert made.shape == x.shape
        assert float(made.min()) >= -1e-5 and float(made.max()) <= 1 + 1e-5, number
        # Posterizing to 8 bits rounds to 256 levels.
        assert torch.allclose(change(x, torch.zeros(len(x))), x, atol=1 / 255 + 1e-4), number


@needs_kornia
def test_no_change_leaves_black_and_white_as_they_are():
    from autoaccel.techniques.data.policies import changes

    x = torch.stack([torch.zeros(1, 6, 6), torch.ones(1, 6, 6), torch.eye(6)[None]])
    for number, change in enumerate(changes()):
        assert torch.allclose(change(x, torch.zeros(3)), x, atol=1e-4), number


@needs_kornia
def test_solarizing_inverts_what_is_brighter_than_its_threshold():
    from autoaccel.techniques.data.policies import changes

    x = torch.tensor([0.0, 0.5, 0.7, 0.8, 1.0]).expand(2, 1, 1, 5)
    made = changes()[11](x, torch.tensor([0.25, -1.0]))
    assert torch.allclose(made[0, 0, 0], torch.tensor([0.0, 0.5, 0.7, 0.2, 0.0]))
    assert torch.allclose(made[1, 0, 0], torch.tensor([0.0, 0.5, 0.3, 0.2, 0.0]))


@needs_kornia
def test_moving_and_turning_do_what_they_say():
    from autoaccel.techniques.data.policies import changes

    x = torch.zeros(2, 1, 10, 10)
    x[:, :, 5, 5] = 1.0
    amount = torch.tensor([1.0, -1.0])
    moved = changes()[4](x, amount)
    assert moved[0, 0, 5, 8] == pytest.approx(1, abs=1e-4)
    assert moved[1, 0, 5, 2] == pytest.approx(1, abs=1e-4)
    assert changes()[5](x, amount)[0, 0, 8, 5] == pytest.approx(1, abs=1e-4)


@needs_kornia
def test_standardized_images_stay_in_their_range_and_the_strength_scales_the_change():
    x = (images(3, n=320) - 0.5) / 0.25
    task = Task(model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 3)), train=(x, torch.arange(320) % 3))
    technique = TrivialAugment(strength=Schedule(0.0, 1.0))
    context = context_with(technique, task)
    assert technique.low == pytest.approx(float(x.min()), abs=0.3)
    assert technique.high == pytest.approx(float(x.max()), abs=0.3)
    changed = []
    for context.p in (0.0, 0.3, 1.0):
        moved = []
        for _ in range(10):
            batch = context.fetch(torch.arange(64))
            after = technique.batch(context, batch)
            assert after.inputs.shape == batch.inputs.shape
            assert technique.low - 1e-4 <= float(after.inputs.min())
            assert float(after.inputs.max()) <= technique.high + 1e-4
            moved.append((after.inputs - batch.inputs).abs().mean())
        changed.append(float(torch.stack(moved).mean()))
    assert changed[0] < 0.02 < changed[1] < changed[2]


@needs_kornia
def test_the_same_seed_draws_the_same_changes():
    made = []
    for _ in range(2):
        technique = TrivialAugment()
        context = context_with(technique)
        made.append(technique.batch(context, context.fetch(torch.arange(50))).inputs)
    assert torch.equal(*made)


def test_dropout_follows_its_schedule_in_few_steps():
    technique = Dropout(rate=Schedule(0.4, 0.0))
    context = context_with(technique, image_task(residual_net))
    (module,) = (m for m in context.model if isinstance(m, nn.Dropout))
    seen = []
    for step in range(101):
        context.p = step / 100
        technique.batch(context, context.fetch(torch.arange(4)))
        seen.append(module.p)
    assert seen[0] == 0.4 and seen[-1] == 0.0
    assert len(set(seen)) == 9
    assert all(abs(p - 0.4 * (1 - step / 100)) <= 0.0251 for step, p in enumerate(seen))
    fixed = Dropout(rate=0.33)
    fixed.batch(context, context.fetch(torch.arange(4)))
    assert module.p == 0.33


def test_only_models_with_dropout_offer_it():
    from autoaccel.training.data.capabilities import task_capabilities
    from autoaccel.training.data.prepare import build_model, prepare

    def offers(make):
        task = image_task(make)
        model = build_model(task, {})
        return "dropout" in task_capabilities(task, prepare(task, model, 0), model, {"dropout"})

    assert offers(residual_net) and not offers(net)
