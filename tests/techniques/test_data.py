"""How data techniques change batches and passes."""

import pytest
import torch
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.techniques.base import Batch
from autoaccel.techniques.data.augmentation import Crop, Cutout, Flip
from autoaccel.techniques.data.curriculum import LossCurriculum
from autoaccel.techniques.data.mixing import CutMix, MixUp
from autoaccel.techniques.data.resolution import ProgressiveResizing, SequenceWarmup, low_frequencies, staged
from autoaccel.techniques.registry import build
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task


@pytest.fixture
def context():
    x = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pooled = lambda: nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))  # noqa: E731
    task = Task(model=pooled, train=(x, torch.arange(64) % 4))
    return assemble(
        task, build({"adamw": {}, "linear": {}, "constant_batch": {}}), {}, 0, 0, SimulatedClock(), 0.0, True
    )


def batch_of(context, n=32):
    index = torch.arange(n)
    x, y = context.data.train.take(index)
    return Batch(x, y, index, torch.ones(n))


def test_flip_shows_every_image_from_both_sides_in_two_passes(context):
    flip, batch = Flip(), batch_of(context)
    first, second = flip.batch(context, batch).inputs, flip.batch(context, batch).inputs
    assert torch.equal(first + second, batch.inputs + batch.inputs.flip(-1))
    assert 0 < (first == batch.inputs).flatten(1).all(1).sum() < 32


def test_crop_moves_pixels_without_inventing_any(context):
    batch = batch_of(context)
    moved = Crop(shift=0.125).batch(context, batch).inputs
    assert moved.shape == batch.inputs.shape and not torch.equal(moved, batch.inputs)
    assert set(moved[0, 0].flatten().tolist()) <= set(batch.inputs[0, 0].flatten().tolist())
    inner = moved[:, :, 2:-2, 2:-2]
    exact = [
        any(torch.equal(inner[i], batch.inputs[i, :, r : r + 12, c : c + 12]) for r in range(5) for c in range(5))
        for i in range(32)
    ]
    assert all(exact)


def test_cutout_greys_one_box_of_the_size_asked_for(context):
    batch = batch_of(context)
    cut = Cutout(side=0.5).batch(context, batch).inputs
    changed = (cut != batch.inputs).any(1).flatten(1).sum(1)
    assert changed.max() <= 64 and changed.min() >= 16


def test_mixup_blends_inputs_and_targets_with_the_same_share(context):
    batch = batch_of(context)
    mixed = MixUp(alpha=1.0).batch(context, batch)
    share = mixed.share[:, None, None, None]
    candidates = (share * batch.inputs)[:, None] + (1 - share)[:, None] * batch.inputs[None]
    partner = (candidates - mixed.inputs[:, None]).abs().flatten(2).amax(2).argmin(1)
    assert torch.equal(batch.targets[partner], mixed.other)
    context.p = 0.9
    assert MixUp(until=0.8).batch(context, batch) is batch


def test_mixup_of_losses_is_the_loss_of_mixed_targets(context):
    batch = MixUp(alpha=1.0).batch(context, batch_of(context))
    plain, _ = context.losses(batch)
    output = context.model(batch.inputs)
    soft = nn.functional.one_hot(batch.targets, 4) * batch.share[:, None]
    soft = soft + nn.functional.one_hot(batch.other, 4) * (1 - batch.share[:, None])
    assert torch.allclose(plain, nn.functional.cross_entropy(output, soft, reduction="none"), atol=1e-6)


def test_cutmix_share_is_the_area_that_was_kept(context):
    batch = batch_of(context)
    mixed = CutMix(chance=1.0).batch(context, batch)
    kept = (mixed.inputs == batch.inputs).all(1).float().mean((1, 2))
    moved = mixed.other != batch.targets
    assert torch.allclose(kept[moved], mixed.share[moved], atol=1e-6)


def test_curriculum_admits_the_easiest_and_grows_to_all(context):
    curriculum, count = LossCurriculum(share=0.25, until=0.5, pacing="linear"), len(context.sample_loss)
    ones = torch.ones(count)
    assert torch.equal(curriculum.select(context, ones), ones)  # no losses are known yet
    context.sample_loss = torch.linspace(1, 0, count)
    kept = curriculum.select(context, ones).nonzero().flatten()
    assert torch.equal(kept, torch.arange(count)[-round(0.25 * count) :])
    context.p = 0.25
    assert curriculum.select(context, ones).mean() == pytest.approx(0.625, abs=0.02)
    context.p = 0.5
    assert torch.equal(curriculum.select(context, ones), ones)


def test_stages_start_small_never_shrink_and_end_full():
    scales = [staged(0.5, 0.1, 0.7, p / 100) for p in range(101)]
    assert scales == sorted(scales) and scales[0] == 0.5 and scales[70] == 1.0
    assert len(set(scales)) == 4


@pytest.mark.parametrize("mode", ["resize", "crop", "frequency"])
def test_resizing_saves_the_area(context, mode):
    technique = ProgressiveResizing(start=0.5, mode=mode)
    assert technique.batch(context, batch_of(context)).inputs.shape[-2:] == (8, 8)
    context.p = 0.9
    assert technique.batch(context, batch_of(context)).inputs.shape[-2:] == (16, 16)


def test_low_frequencies_keep_the_mean_and_a_slow_wave():
    place = torch.arange(16) / 16
    wave = (2 + torch.cos(2 * torch.pi * place)).expand(1, 1, 16, 16)
    smaller = low_frequencies(wave, 8, 8)
    assert torch.allclose(
        smaller, (2 + torch.cos(2 * torch.pi * torch.arange(8) / 8)).expand(1, 1, 8, 8), atol=1e-5
    )


def test_segments_keep_every_token_with_its_target(context):
    x = torch.arange(4 * 32).view(4, 32)
    batch = Batch(x, x + 1, torch.arange(4), torch.ones(4))
    cut = SequenceWarmup(start=0.25, mode="segment").batch(context, batch)
    assert cut.inputs.shape == (16, 8) and torch.equal(cut.inputs.flatten(), x.flatten())
    assert torch.equal(cut.targets, cut.inputs + 1) and torch.equal(cut.index[:4], torch.zeros(4, dtype=torch.long))
    short = SequenceWarmup(start=0.25, mode="truncate").batch(context, batch)
    assert torch.equal(short.inputs, x[:, :8]) and torch.equal(short.targets, x[:, :8] + 1)
    labels = Batch(x, torch.arange(4), torch.arange(4), torch.ones(4))
    one_label_each = SequenceWarmup(start=0.25, mode="segment").batch(context, labels)
    assert one_label_each.inputs.shape == (4, 8) and torch.equal(one_label_each.targets, torch.arange(4))
