"""The task's loss, compared with the loss of torch that the user means, on whole batches and in micro-batches."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from accelerate.utils import set_seed
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN, Choice
from autoaccel.errors import TaskError
from autoaccel.techniques.registry import build
from autoaccel.training import means
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task
from autoaccel.training.evaluate import score

WEIGHT = torch.tensor([1.0, 2.0, 5.0, 0.5])


def drawn(*shape, ignored=-100, classes=4, first=0):
    """Return labels, some of which are ignored."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(first, classes, shape, generator=generator)
    return labels.masked_fill(torch.rand(shape, generator=generator) < 0.3, ignored)


def table(labels):
    return torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0)), labels


def images(labels):
    return torch.randn(len(labels), 3, 6, 6, generator=torch.Generator().manual_seed(0)), labels


def conv():
    return nn.Conv2d(3, 4, 1)


def linear():
    return nn.Linear(6, 4)


def context_of(task, micro_batch=0, **techniques):
    recipe = replace(PLAIN["plain"], techniques=techniques, batch_size=Choice("constant_batch", {"size": 23}))
    context = assemble(task, build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    context.micro_batch = micro_batch
    context.model.train()
    return context


def gradients(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def check(task, loss):
    """Compare gradients of a batch in unequal micro-batches, and the validation loss, with those of `loss`."""
    context = context_of(task, micro_batch=5)
    batch = next(iter(BatchSampler(context, 0)))
    for part, total in context.chunks(batch, 5):
        context.backward(part, total)
    set_seed(0)
    model, (x, y) = task.model(), task.train
    loss(model(x[batch.index]), y[batch.index]).backward()
    torch.testing.assert_close(gradients(context.model), gradients(model))
    expected = loss(model(x), y).item()
    assert score(context, context.data.valid).loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [-100, 255, 3])
def test_class_weights_of_the_task_beside_a_loss_module(ignored, smoothing):
    data = images(drawn(60, 6, 6, ignored=ignored, classes=3))
    loss = nn.CrossEntropyLoss(ignore_index=ignored, label_smoothing=smoothing)
    task = Task(conv, data, valid=data, loss=loss, class_weights=WEIGHT.tolist())
    check(task, nn.CrossEntropyLoss(WEIGHT, ignore_index=ignored, label_smoothing=smoothing))
    assert loss.weight is None  # the user's own module stays as it is


def test_class_weights_do_not_go_with_one_number_a_batch():
    data = table(drawn(60))
    task = Task(linear, data, valid=data, loss=nn.CrossEntropyLoss(reduction="sum"), class_weights=WEIGHT)
    with pytest.raises(TaskError, match="class_weights need a loss of classes"):
        context_of(task)


def of_labels(each, ignored, weight=None):
    """Return the mean of `each(logits, labels)` over what counts, as a loss of an output and targets."""

    def loss(output, targets):
        counted = targets != ignored
        logits, labels = output.movedim(1, -1)[counted], targets[counted]
        share = torch.ones(len(labels)) if weight is None else weight[labels]
        return (each(logits, labels) * share).sum() / share.sum()

    return loss


def focal(logits, labels):
    losses = F.cross_entropy(logits, labels, reduction="none")
    return (1 - (-losses).exp()) ** 2 * losses


def one_against_rest(logits, labels):
    wanted = F.one_hot(labels, 4).float()
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(-1)


def smoothed(logits, labels):
    return 0.9 * F.cross_entropy(logits, labels, reduction="none") - 0.1 * logits.log_softmax(-1).mean(-1)


TECHNIQUES = {"focal": focal, "bce": one_against_rest, "label_smoothing": smoothed}


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignored", [-100, 255, 0])
@pytest.mark.parametrize("name", TECHNIQUES)
def test_losses_of_techniques_leave_out_what_the_task_ignores(name, ignored, weight):
    data = images(drawn(60, 6, 6, ignored=ignored, first=1))
    task = Task(conv, data, valid=data, loss=nn.CrossEntropyLoss(weight, ignore_index=ignored))
    context = context_of(task, **{name: {}})
    batch = next(iter(BatchSampler(context, 0)))
    _, each = context.losses(batch)
    x, y = data
    expected = of_labels(TECHNIQUES[name], ignored, weight)(context.model(x[batch.index]), y[batch.index])
    torch.testing.assert_close(
        context.mean(batch, each, means.total(context.data.objective, batch, False)), expected
    )


class Transposed(nn.Sequential):
    """A token model that answers with the classes on the second dimension, as torch's losses take them."""

    def forward(self, x):
        return super().forward(x).movedim(-1, 1)


def test_distillation_is_over_the_classes_wherever_they_are():
    tokens = drawn(40, 6, ignored=0, classes=8)
    losses = []
    for kind in (nn.Sequential, Transposed):
        task = Task(lambda kind=kind: kind(nn.Embedding(8, 6), nn.Linear(6, 8)), (tokens[:, :-1], tokens[:, 1:]))
        task = replace(task, loss=nn.CrossEntropyLoss())
        context = context_of(task)
        torch.manual_seed(1)
        context.teacher = task.model().eval()
        context.techniques = tuple(build({"token_distillation": {"top": 4}}))
        context.techniques[0].setup(context)
        losses.append(context.losses(context.fetch(torch.arange(8)))[1])
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("loss", [nn.HuberLoss(delta=30.0), nn.SmoothL1Loss(beta=30.0), nn.HuberLoss(delta=1e5)])
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_threshold_of_the_loss_stays_in_the_units_of_the_targets(loss, outputs):
    x, _ = table(torch.zeros(60))
    y = 2e4 + torch.tensor([5e3, 50.0])[:outputs] * x[:, :outputs]
    context = context_of(Task(lambda: nn.Linear(6, outputs), (x, y), valid=(x, y), loss=loss))
    mean, std = y.mean(0), y.std(0)
    context.per_sample(context.model(x), y).sum().backward()
    set_seed(0)
    model = nn.Linear(6, outputs)
    each = type(loss)(
        reduction="none", **{key: getattr(loss, key) for key in ("delta", "beta") if hasattr(loss, key)}
    )
    of_one_std = each(std, torch.zeros_like(std))
    (each(model(x) * std + mean, y) / of_one_std).mean(1).sum().backward()
    torch.testing.assert_close(gradients(context.model), gradients(model), rtol=1e-3, atol=1e-3)


def test_one_of_two_classes_may_be_ignored_and_one_of_several_labels_not():
    x, labels = table(drawn(60, classes=2))
    task = Task(lambda: nn.Linear(6, 1), (x, labels), valid=(x, labels))
    check(task, lambda output, y: binary(output[y != -100], y[y != -100].float()).mean())
    context = context_of(task)
    counted = labels != -100
    right = (context.model(x)[:, 0] > 0) == labels
    assert score(context, context.data.valid).metric == pytest.approx(right[counted].double().mean().item())
    several = torch.where(labels == -100, labels, 1 - labels)[:, None].repeat(1, 4).float()
    with pytest.raises(TaskError, match="must be from 0 to 1, but they go from -100 to 1"):
        context_of(Task(linear, (x, several), loss="binary_cross_entropy_with_logits"))


def binary(logits, labels):
    return F.binary_cross_entropy_with_logits(logits.view(-1), labels, reduction="none")


def test_pixels_of_a_mask_may_be_ignored():
    x, mask = images(drawn(60, 1, 6, 6, classes=2))
    task = Task(lambda: nn.Conv2d(3, 1, 1), (x, mask), valid=(x, mask), metric="accuracy")
    check(task, lambda output, y: F.binary_cross_entropy_with_logits(output[y != -100], y[y != -100].float()))
    context = context_of(task)
    right = ((context.model(x) > 0) == mask)[mask != -100]
    assert score(context, context.data.valid).metric == pytest.approx(right.double().mean().item())


@pytest.mark.parametrize(("ignored", "alike"), [(False, True), (True, False)])
def test_no_step_looks_for_ignored_labels_where_all_are_known_to_count(ignored, alike):
    x, y = table(torch.arange(60) % 4)
    train, valid = (x, y.clone()), (x, y.clone())
    valid[1][:20] = -100
    if ignored:
        train[1][:20] = -100
    context = context_of(Task(linear, train, valid=valid, loss="cross_entropy"))
    assert context.data.objective.alike is alike
    found = score(context, context.data.valid)
    with torch.inference_mode():
        expected = F.cross_entropy(context.model.eval()(x), valid[1])
    assert found.loss == pytest.approx(float(expected), rel=1e-5)
