"""Losses that replace cross entropy, against torch and computed by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autoaccel.core.catalog import check
from autoaccel.core.clock import SimulatedClock
from autoaccel.techniques.base import Batch
from autoaccel.techniques.optimization.objectives import Focal, LabelSmoothing, OneAgainstRest
from autoaccel.techniques.registry import build, catalog
from autoaccel.training import means
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task

COMPONENTS = {"adamw": {}, "linear": {}, "constant_batch": {}}


def label_context(class_weights=None, first_label=0, **technique):
    x, labels = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    labels[0] = first_label
    task = Task(model=lambda: nn.Linear(4, 3), train=(x, labels), class_weights=class_weights)
    return assemble(task, build({**COMPONENTS, **technique}), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def token_context(**technique):
    x = torch.randint(0, 5, (40, 7), generator=torch.Generator().manual_seed(0))
    model = lambda: nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))  # noqa: E731
    task = Task(model=model, train=(x[:, :-1], x[:, 1:]))
    return assemble(task, build({**COMPONENTS, **technique}), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def batch_of(targets, other=None, share=None):
    index = torch.arange(len(targets))
    return Batch(None, targets, index, torch.ones(len(targets)), other, share)


def loss(context, technique, batch, output):
    return technique.loss(context, batch, output, torch.full((len(batch.targets),), float("nan")))


OUTPUT = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 2, 1, 1, 0, 2])


def binary(output, wanted):
    return F.binary_cross_entropy_with_logits(output, wanted, reduction="none").sum(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_is_the_sum_of_torchs(smoothing):
    wanted = F.one_hot(TARGETS, 3) * (1 - smoothing) + smoothing / 3
    made = loss(label_context(), OneAgainstRest(smoothing=smoothing), batch_of(TARGETS), OUTPUT)
    assert torch.allclose(made, binary(OUTPUT, wanted), atol=1e-6)


def test_bce_of_mixed_samples_is_that_of_their_mixed_targets():
    other, share = TARGETS.flip(0), torch.rand(6)
    wanted = share[:, None] * F.one_hot(TARGETS, 3) + (1 - share[:, None]) * F.one_hot(other, 3)
    made = loss(label_context(), OneAgainstRest(), batch_of(TARGETS, other, share), OUTPUT)
    assert torch.allclose(made, binary(OUTPUT, wanted), atol=1e-6)


def test_focal_weighs_cross_entropy_by_the_chance_of_being_wrong():
    context = label_context()
    plain = F.cross_entropy(OUTPUT, TARGETS, reduction="none")
    wrong = 1 - OUTPUT.softmax(1)[torch.arange(6), TARGETS]
    assert torch.allclose(loss(context, Focal(gamma=2.0), batch_of(TARGETS), OUTPUT), wrong**2 * plain, atol=1e-6)
    share, other = torch.rand(6), TARGETS.flip(0)
    swapped = loss(context, Focal(gamma=2.0), batch_of(other), OUTPUT)
    mixed = loss(context, Focal(gamma=2.0), batch_of(TARGETS, other, share), OUTPUT)
    assert torch.allclose(mixed, share * wrong**2 * plain + (1 - share) * swapped, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 5.0])
def test_focal_has_a_slope_where_the_model_is_certain(gamma):
    output = torch.tensor([[80.0, 0.0, 0.0], [0.0, 80.0, 0.0]], requires_grad=True)
    each = loss(label_context(), Focal(gamma=gamma), batch_of(torch.tensor([0, 0])), output)
    each.sum().backward()
    assert each.tolist() == pytest.approx([0.0, 80.0], abs=1e-5)
    assert torch.isfinite(output.grad).all()


@pytest.mark.parametrize("technique", [OneAgainstRest(smoothing=0.1), Focal(gamma=0.0)])
def test_ignored_tokens_do_not_count(technique):
    context = token_context()
    output = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(2))
    targets = torch.arange(18).view(3, 6) % 5
    targets[0, :4] = -100
    made = loss(context, technique, batch_of(targets), output)
    counted = loss(context, technique, batch_of(targets[:1, 4:]), output[:1, 4:])
    assert torch.allclose(made[:1], counted)
    if isinstance(technique, Focal):  # gamma = 0 leaves the task's own loss
        assert torch.allclose(made, context.per_sample(output, targets), atol=1e-6)


def test_class_weights_and_ignored_labels_are_the_tasks_own():
    context = label_context(class_weights=[1.0, 2.0, 5.0])
    made = loss(context, Focal(gamma=0.0), batch_of(TARGETS), OUTPUT)
    assert torch.allclose(made, context.per_sample(OUTPUT, TARGETS), atol=1e-6)
    assert means.counts(context.data.objective, batch_of(TARGETS)).tolist() == [1, 5, 2, 2, 1, 5]
    ignored = loss(label_context(first_label=-100), OneAgainstRest(), batch_of(torch.tensor([-100, 1])), OUTPUT[:2])
    assert ignored[0] == 0 and ignored[1] > 0


@pytest.mark.parametrize("name", ["bce", "focal"])
def test_the_loss_that_is_reported_stays_the_tasks(name):
    context = label_context(**{name: {}})
    batch = context.fetch(torch.arange(8))
    plain, each = context.losses(batch)
    assert torch.equal(plain, context.per_sample(context.model(batch.inputs), batch.targets))
    assert not torch.allclose(plain, each)


def test_two_losses_do_not_share_a_recipe():
    assert check({"bce": {}, "focal": {}}, catalog())
    assert check({"bce": {}, "label_smoothing": {}}, catalog())
    assert not check({"focal": {}, "label_smoothing": {}}, catalog())


def test_smoothing_is_torchs_with_ignored_labels_and_class_weights():
    targets, eps = torch.tensor([0, 2, -100, 1]), 0.1
    output = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    context = label_context(class_weights=[0.05, 2.0, 1.0])
    each = context.per_sample(output, targets)
    made = LabelSmoothing(eps=eps).loss(context, batch_of(targets), output, each)
    assert made[2] == 0
    uniform = -output.log_softmax(1).mean(1)
    expected = (1 - eps) * each + eps * uniform * torch.tensor([1.0, 1.0, 0.0, 1.0])
    assert torch.allclose(made, expected)
    mixed = batch_of(TARGETS, TARGETS.flip(0), torch.full((6,), 0.3))
    plain = label_context()
    both = 0.3 * plain.per_sample(OUTPUT, TARGETS) + 0.7 * plain.per_sample(OUTPUT, TARGETS.flip(0))
    made = LabelSmoothing(eps=eps).loss(plain, mixed, OUTPUT, both)
    wanted = 0.3 * F.one_hot(TARGETS, 3) + 0.7 * F.one_hot(TARGETS.flip(0), 3)
    assert torch.allclose(made, F.cross_entropy(OUTPUT, wanted * (1 - eps) + eps / 3, reduction="none"), atol=1e-6)
