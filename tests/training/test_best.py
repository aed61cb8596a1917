"""A training that keeps its best weights delivers those of the milestone with the best validation score."""

import copy
import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from sample_tasks import task_for
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.recipe import PLAIN, Choice
from autoaccel.core.trial import Outcome, OutcomeKind, TrialRequest, final_milestones
from autoaccel.techniques.registry import catalog
from autoaccel.testing.techniques import alone
from autoaccel.training.data.task import Task
from autoaccel.training.run_trial import run_trial
from autoaccel.training.scoring import score_weights
from autoaccel.training.trial_environment import TrialEnvironment

pytestmark = pytest.mark.usefixtures("one_thread")

EIGHTHS = tuple((i + 1) / 8 for i in range(8))
CONSTANT = PLAIN["plain_constant"]


def overfitting_task(**changes):
    """More weights than samples, and labels that are partly wrong: the validation loss falls, then rises."""
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, m, generator=generator, dtype=torch.float64) for n, m in ((600, 20), (20, 3)))
    y = (x @ w).argmax(1)
    wrong = torch.rand(400, generator=generator) < 0.3
    y[:400][wrong] = torch.randint(0, 3, (int(wrong.sum()),), generator=generator)
    given = {"train": (x[:200], y[:200]), "valid": (x[200:400], y[200:400]), "test": (x[400:], y[400:])}
    return Task(overfitting_net, **{"metric": "loss", **given, **changes})


def overfitting_net():
    return nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 3)).double()


def run(task, folder, steps=240, recipe=CONSTANT, milestones=EIGHTHS, report=lambda made: True, **changes):
    reports = []
    heard = {name: changes.pop(name) for name in ("finishing", "stopped") if name in changes}
    environment = TrialEnvironment(
        SimulatedClock(), 0.0, lambda made: reports.append(made) or report(made), folder, cpu=True, **heard
    )
    options = {"milestones": milestones, "test": True, "keep_best": True, **changes}
    budget = options.pop("budget", Budget(steps=steps))
    return run_trial(task, TrialRequest(0, recipe, budget, **options), environment), reports


def by_hand(task, steps):
    """A plain loop that keeps the best state dict by its validation loss at every eighth of the steps."""
    torch.manual_seed(0)
    net, (x, y), (vx, vy) = task.model(), task.train, task.valid
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in net.parameters() if p.dim() > 1]},
            {"params": [p for p in net.parameters() if p.dim() < 2], "weight_decay": 0.0},
        ],
        1e-3,
        fused=True,
    )
    order, best, step, losses = torch.Generator().manual_seed(0), math.inf, 0, []
    while True:
        for index in torch.randperm(200, generator=order)[:192].split(64):
            if step and step % (steps // 8) == 0:
                with torch.no_grad():
                    losses.append(float(nn.functional.cross_entropy(net(vx), vy)))
                if losses[-1] < best:
                    best, kept = losses[-1], copy.deepcopy(net.state_dict())
            if step == steps:
                return kept, losses
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[index]), y[index]).backward()
            optimizer.step()
            step += 1


def test_it_keeps_what_a_loop_by_hand_keeps(tmp_path):
    task = overfitting_task()
    outcome, reports = run(task, tmp_path)
    kept, losses = by_hand(task, 240)
    assert [report.loss for report in reports] == pytest.approx(losses, rel=2e-4)
    best = losses.index(min(losses))
    assert best not in (0, 7) and min(losses) < 0.9 * losses[-1]
    assert outcome.final.milestone == best and outcome.final.progress == EIGHTHS[best]
    assert outcome.final.loss == pytest.approx(min(losses), rel=2e-4)
    saved = load_file(tmp_path / "model.safetensors")
    # Ours weights its losses in single precision, and AdamW magnifies the last digits of small gradients.
    assert all((saved[name] - kept[name]).norm() < 5e-3 * kept[name].norm() for name in kept)
    with torch.no_grad():
        net = task.model()
        net.load_state_dict(kept)
        tested = float(nn.functional.cross_entropy(net(task.test[0]), task.test[1]))
    assert outcome.test["loss"] == pytest.approx(tested, rel=1e-4)
    assert outcome.last == reports[-1]
    assert outcome.kept == (
        f"the weights after {EIGHTHS[best]:.0%} were better on validation than the last: "
        f"loss {outcome.final.metric:.4g} against {outcome.last.metric:.4g}"
    )
    assert from_data(Outcome, to_data(outcome)) == outcome


def test_the_last_weights_win_where_they_are_as_good(tmp_path):
    """An accuracy of the same labels at all milestones: the loss breaks the tie, then the later ones win."""
    task = overfitting_task(metric=lambda y, p: 0.5, direction="max")
    outcome, reports = run(task, tmp_path)
    assert outcome.final.loss == pytest.approx(min(report.loss for report in reports), rel=1e-5)
    assert "loss" in outcome.kept
    frozen = replace(CONSTANT, optimizer=Choice("adamw", {"lr": 1e-30}))
    outcome, reports = run(task, tmp_path, recipe=frozen)
    assert outcome.final.milestone == 7 and outcome.last is None and outcome.kept == ""


def test_without_the_flag_the_last_weights_are_the_result(tmp_path):
    outcome, reports = run(overfitting_task(), tmp_path, keep_best=False)
    assert outcome.final == reports[-1] and outcome.last is None


@pytest.mark.parametrize(("direction", "best"), [("max", 1), ("min", 0)])
def test_a_metric_is_compared_in_its_direction(tmp_path, direction, best):
    spoken = []

    def metric(outputs, targets):
        """A value for each evaluation; the same again for weights that were seen before."""
        known = [value for seen, value in spoken if torch.equal(seen, outputs)]
        spoken.append((outputs, known[0] if known else [0.1, 0.9, 0.3, 0.4][len(spoken) - 1]))
        return spoken[-1][1]

    spoken.append((torch.zeros(0), 0.0))
    task = overfitting_task(metric=lambda y, o: metric(o, y), metric_on="output", direction=direction)
    outcome, _ = run(replace(task, test=None), tmp_path, milestones=(0.25, 0.5, 0.75, 1.0))
    assert outcome.final.milestone == best


def worse_from(share, model):
    """A report that adds noise to the weights once this share is passed: whatever is evaluated later is worse."""

    def report(made):
        if made.progress >= share:
            with torch.no_grad():
                for p in model().parameters():
                    p.add_(5 * torch.randn_like(p))
        return True

    return report


@contextmanager
def made_models(task):
    """The task, and the model that its factory made last."""
    made = []

    def factory(**parameters):
        made.append(task.model(**parameters))
        return made[-1]

    yield replace(task, model=factory), lambda: made[-1]


CHANGING = {
    "ema": ({"start": 0.0}, 0.0),
    "swa": ({"start": 0.5}, 0.0),
    "lawa": ({}, 0.0),
    "lookahead": ({}, 0.0),
    "schedule_free": ({}, 0.0),
    "magnitude_pruning": ({"until": 0.5}, 0.5),
    "structured_pruning": ({"at": 0.3, "multiple": 1}, 0.3),
    "quantization": ({"at": 0.6}, 0.6),
    "depth_growth": ({"at": 0.3}, 0.3),
    "lora": ({}, 0.0),
    "layer_drop": ({}, 0.0),
    "layer_freezing": ({}, 0.0),
    "compile": ({}, 0.0),
}
"""Parameters of techniques that change what is evaluated or saved, and from which progress on that is final."""


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow) if name == "compile" else name


@pytest.mark.parametrize("name", [slow(name) for name in sorted(CHANGING)])
def test_what_is_kept_is_what_is_delivered(tmp_path, name):
    """The milestone that is reported is that of the saved weights, and none from before the model's last change."""
    info, (parameters, settled) = catalog()[name], CHANGING[name]
    if not info.available:
        pytest.skip(f"needs the extra {info.extra}")
    task, recipe = task_for(info), alone(name, parameters)
    with made_models(replace(task, valid=task.train, test=task.train, metric="loss")) as (task, model):
        outcome, reports = run(task, tmp_path, 40, recipe, report=worse_from(0.74, model))
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    candidates = [report for report in reports if report.progress > settled]
    best = min(candidates, key=lambda report: report.loss)
    assert outcome.final.milestone == best.milestone < 7 and outcome.last == reports[-1]
    assert outcome.final.loss == pytest.approx(best.loss, rel=1e-5)
    assert outcome.test["loss"] == pytest.approx(best.loss, rel=1e-4)
    scored = score_weights(task, recipe, tmp_path / "model.safetensors", SimulatedClock(), 0, cpu=True)
    assert scored["loss"] == pytest.approx(best.loss, rel=1e-4)


def test_weights_from_before_a_change_do_not_win(tmp_path):
    """Noise from the first milestone on: the best score is of a model that is neither rounded nor pruned yet."""
    for name, values in (("quantization", {"at": 0.6}), ("magnitude_pruning", {"until": 0.6, "sparsity": 0.5})):
        with made_models(replace(task_for(catalog()[name]), metric="loss")) as (task, model):
            outcome, reports = run(
                task, tmp_path, 40, alone(name, values), report=worse_from(0.1, model), test=False
            )
        assert min(reports, key=lambda report: report.loss).milestone == 0
        assert outcome.final.progress > 0.6
    weights = [w for w in load_file(tmp_path / "model.safetensors").values() if w.dim() > 1]
    assert sum(float((w == 0).sum()) for w in weights) >= 0.49 * sum(w.numel() for w in weights)


def test_a_training_that_diverges_late_delivers_its_best_weights(tmp_path):
    for share, kind in ((0.2, OutcomeKind.INFEASIBLE), (0.74, OutcomeKind.COMPLETE)):
        with made_models(overfitting_task()) as (task, model):

            def report(made, share=share, model=model):
                if made.progress >= share:
                    model()[0].weight.data.fill_(math.nan)
                return True

            outcome, reports = run(task, tmp_path, report=report)
        assert outcome.kind is kind and ("nan" in outcome.reason or "not finite" in outcome.reason)
    best = min(reports, key=lambda made: made.loss)
    assert outcome.final.milestone == best.milestone and outcome.last is None
    assert outcome.reason.endswith(f"; the weights after {best.progress:.0%} are kept")
    assert all(bool(w.isfinite().all()) for w in load_file(tmp_path / "model.safetensors").values())


def test_asked_to_finish_early_it_keeps_its_best_too_and_evaluates_once_more(tmp_path):
    asked = []
    outcome, reports = run(
        overfitting_task(), tmp_path, 400, finishing=lambda: bool(asked),
        report=lambda made: made.milestone < 4 or asked.append(1) is None,
    )  # fmt: skip
    assert [made.milestone for made in reports] == [0, 1, 2, 3, 4, 7]
    best = min(reports, key=lambda made: made.loss)
    assert outcome.reason == "asked to finish early" and best.milestone < 4
    assert outcome.final.milestone == best.milestone and outcome.last == reports[-1]


def test_a_step_over_several_milestones_evaluates_once(tmp_path):
    _, reports = run(overfitting_task(), tmp_path, steps=2)
    assert [made.milestone for made in reports] == list(range(8))
    assert len({made.loss for made in reports}) == len({made.cost.flops for made in reports}) == 2


def test_scaled_targets_are_kept_in_their_units(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=generator)
    y = 1000 + 50 * (x.sum(1, keepdim=True) + torch.randn(200, 1, generator=generator))
    task = Task(lambda: nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 1)), train=(x, y))
    task = replace(task, valid=(x[:50], y[:50]), test=(x[:50], y[:50]))
    with made_models(task) as (task, model):
        outcome, _ = run(task, tmp_path, 80, report=worse_from(0.6, model))
    assert outcome.last is not None and outcome.final.loss < 8000
    assert outcome.test["loss"] == pytest.approx(outcome.final.loss, rel=1e-3)
    scored = score_weights(task, CONSTANT, tmp_path / "model.safetensors", SimulatedClock(), 0, cpu=True)
    assert scored["loss"] == pytest.approx(outcome.final.loss, rel=1e-3)


def test_a_standard_error_that_takes_resampling_is_that_of_what_is_delivered(tmp_path):
    """No milestone pays for it; the delivered weights have it, the last ones too."""
    for share in (0.6, 2.0):
        with made_models(overfitting_task(metric="f1_macro")) as (task, model):
            outcome, reports = run(task, tmp_path, report=worse_from(share, model))
        assert all(made.standard_error is None for made in reports)
        assert outcome.final.standard_error > 0


def test_a_forward_that_changes_with_progress_is_scored_as_it_is_delivered(tmp_path):
    """What was best at half of the training would be worse at its end: the last weights are delivered."""

    class Swelling(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.factor = overfitting_net(), 1.0

        def forward(self, x):
            return self.net(x) * self.factor

    given = overfitting_task()
    with made_models(replace(given, model=Swelling, test=given.valid)) as (task, model):

        def report(made):
            model().factor = 30.0
            return True

        outcome, reports = run(task, tmp_path, milestones=(0.5, 1.0), report=report)
    assert reports[0].loss < reports[1].loss
    assert outcome.final == reports[1] and outcome.last is None
    assert outcome.test["loss"] == pytest.approx(reports[1].loss)


def test_requests_of_older_logs_keep_the_last_weights():
    data = to_data(TrialRequest(0, CONSTANT, Budget(steps=1)))
    del data["keep_best"]
    assert from_data(TrialRequest, data).keep_best is False
    outcome = to_data(Outcome(OutcomeKind.COMPLETE))
    del outcome["last"]
    assert from_data(Outcome, outcome).last is None


@pytest.mark.parametrize(("steps", "count"), [(40, 1), (2000, 8), (4000, 16)])
def test_a_training_without_a_profile_chooses_for_itself_when_to_evaluate(tmp_path, steps, count):
    """An evaluation of 200 samples, against batches of 64."""
    outcome, reports = run(overfitting_task(), tmp_path, steps=steps, milestones=())
    assert [report.progress for report in reports] == pytest.approx([(i + 1) / count for i in range(count)])
    assert bool(outcome.kept) == (count > 1)


def test_evaluations_of_a_training_without_a_profile_are_a_small_share_of_its_operations(tmp_path):
    flops = 2e8
    outcome, reports = run(overfitting_task(), tmp_path, budget=Budget(flops=flops), milestones=())
    one = 2 * 200 * (20 * 128 + 128 * 3)
    assert len(reports) in (2, 4, 8) and len(reports) * one <= 0.02 * flops < 2.2 * len(reports) * one
    assert outcome.cost.flops <= 1.01 * flops


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.00125, 0.002, 0.004, 0.006, 0.01, 0.02, 0.5, math.inf])
def test_a_final_training_evaluates_often_where_that_is_cheap(share):
    """Besides the evaluation at its end, they take at most 2 % of its budget."""
    milestones = final_milestones(share)
    count = len(milestones)
    assert count in (1, 2, 4, 8, 16) and milestones == tuple((i + 1) / count for i in range(count))
    assert count == 1 or count * share <= 0.02
    assert count == 16 or 2 * count * share > 0.02
