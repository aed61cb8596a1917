"""Distillation: the teacher runs once on each sample, and the student learns from it for part of the training."""

import pytest
import torch
import torch.nn.functional as F
from delivery import net, net_task
from sample_tasks import token_task, transformer
from torch import nn

from autoaccel.core.catalog import check
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.techniques.base import Batch
from autoaccel.techniques.model import distillation
from autoaccel.techniques.model.distillation import CachedTeacher, divergence
from autoaccel.techniques.registry import build, catalog
from autoaccel.techniques.shared.tensors import IGNORED
from autoaccel.training.build import prepare_context, set_up


def taught(name, task, teacher, **parameters):
    techniques = build(Recipe(techniques={name: parameters}).chosen())
    context = prepare_context(task, techniques, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    context.teacher = teacher.eval().requires_grad_(False)
    set_up(context, cpu=True)
    return context, next(t for t in context.techniques if isinstance(t, CachedTeacher))


def reference_divergence(logits, teacher):
    return F.kl_div(logits.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="none").sum(-1)


def test_with_all_classes_it_is_the_kullback_leibler_divergence():
    logits, teacher = torch.randn(5, 4), torch.randn(5, 4)
    scores, classes = teacher.log_softmax(-1).topk(4)
    torch.testing.assert_close(divergence(logits, classes, scores), reference_divergence(logits, teacher))


def test_classes_that_are_not_kept_count_as_one():
    logits, teacher = torch.randn(5, 7, 9), torch.randn(5, 7, 9)
    scores, classes = teacher.log_softmax(-1).topk(3)

    def merged(x):
        p = x.softmax(-1)
        kept = p.gather(-1, classes)
        return torch.cat([kept, 1 - kept.sum(-1, keepdim=True)], -1).log()

    wanted = reference_divergence(merged(logits), merged(teacher))
    torch.testing.assert_close(divergence(logits, classes, scores), wanted, atol=1e-5, rtol=1e-4)


def test_the_teacher_costs_one_forward_a_sample():
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Linear(10, 3))
    context, _ = taught("distillation", net_task(), teacher)
    assert context.meter.spent().flops == 300 * 2 * (64 * 10 + 10 * 3)


def test_the_students_loss_is_mixed_with_the_distance_until_a_point():
    task, teacher = net_task(), net()
    context, technique = taught("distillation", task, teacher, weight=0.25, temperature=3.0, until=0.5)
    index = torch.tensor([7, 2, 250])
    x, y = task.train[0][index], task.train[1][index]
    batch, output = Batch(x, y, index, torch.ones(3)), torch.randn(3, 3)
    each = F.cross_entropy(output, y, reduction="none")
    wanted = 0.75 * each + 0.25 * 9 * reference_divergence(output / 3, teacher(x) / 3)
    torch.testing.assert_close(technique.loss(context, batch, output, each), wanted, atol=5e-3, rtol=5e-3)
    context.p = 0.5
    assert technique.loss(context, batch, output, each) is each


def test_positions_without_a_target_do_not_count():
    teacher = transformer()
    context, technique = taught(
        "token_distillation", token_task(transformer), teacher, weight=1.0, temperature=1.0, top=16
    )
    index = torch.arange(4)
    x, y = context.data.train.take(index)
    y = y.clone()
    y[:, 5:] = IGNORED
    output = torch.randn(4, 32, 7)
    wanted = reference_divergence(output, teacher(x))[:, :5].mean(1)
    made = technique.loss(context, Batch(x, y, index, torch.ones(4)), output, torch.zeros(4))
    torch.testing.assert_close(made, wanted, atol=5e-3, rtol=5e-3)


def test_answers_that_take_too_much_memory_are_refused(monkeypatch):
    monkeypatch.setattr(distillation, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"shape \(300, 3\) take"):
        taught("distillation", net_task(), net())


@pytest.mark.parametrize("other", ["mixup", "cutmix"])
def test_a_mixed_sample_has_no_answer(other):
    assert check({"distillation": {}, other: {}}, catalog())


def test_positions_of_shorter_sequences_have_no_answer():
    assert check({"token_distillation": {}, "sequence_warmup": {}}, catalog())
    assert not check({"distillation": {}, "sequence_warmup": {}}, catalog())


def test_a_set_up_that_takes_the_whole_budget_is_infeasible_and_charged(tmp_path):
    """Running the teacher on every sample costs more than a tiny budget."""
    from sample_tasks import image_task, net

    from autoaccel.core.budget import Budget
    from autoaccel.core.clock import SystemClock
    from autoaccel.core.recipe import Recipe
    from autoaccel.core.trial import OutcomeKind, Reference, TrialRequest
    from autoaccel.training.checkpoint import save_weights
    from autoaccel.training.run_trial import TrialEnvironment, run_trial

    save_weights(net(), tmp_path / "model.safetensors")
    reference = Reference(Recipe(), weights=str(tmp_path / "model.safetensors"))
    recipe = Recipe(techniques={"distillation": {}})
    clock = SystemClock()
    request = TrialRequest(0, recipe, Budget(flops=1e5), reference=reference)
    outcome = run_trial(image_task(), request, TrialEnvironment(clock, clock.now(), lambda report: True, cpu=True))
    assert outcome.kind is OutcomeKind.INFEASIBLE and "set-up alone" in outcome.reason
    assert outcome.cost.flops > 1e5
