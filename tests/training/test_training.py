"""Real training with torch: FLOPs against counts by hand, budgets, data, losses and metrics."""

import numpy as np
import pytest
import torch
from sample_tasks import image_task
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN, Choice, Recipe
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.training.data.capabilities import task_capabilities
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task
from autoaccel.training.meters.count_flops import count_flops
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment


def table_task(n=200, classes=3, **changes):
    torch.manual_seed(0)
    x = torch.randn(n, 8)
    y = (x @ torch.randn(8, classes)).argmax(1)
    options = {"model": lambda: nn.Linear(8, classes), "train": (x, y), "test": (x, y), **changes}
    return Task(**options)


def run(task, budget, recipe=PLAIN["plain"], **changes):
    clock = SimulatedClock()
    reports = []
    environment = TrialEnvironment(clock, 0.0, lambda r: reports.append(r) or True, cpu=True)
    request = TrialRequest(0, recipe, budget, milestones=(0.5, 1.0), test=True, **changes)
    return run_trial(task, request, environment), reports


def test_flops_of_a_linear_stack():
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    forward = 2 * 10 * (16 * 32 + 32 * 4)
    # The first layer's inputs need no gradient, so its backward is one matrix product instead of two.
    backward = 2 * 10 * (16 * 32 + 2 * 32 * 4)
    assert count_flops(net, torch.zeros(10, 16), backward=True) == forward + backward


def test_flops_of_a_convolution():
    net = nn.Conv2d(3, 8, 3, padding=1)
    product = 2 * 5 * 8 * 3 * 9 * 16 * 16
    assert count_flops(net, torch.zeros(5, 3, 16, 16), backward=True) == 2 * product


class Block(nn.Module):
    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, width)
        x = x + self.out(mixed)
        return x + self.feed(self.norms[1](x))


def test_flops_of_a_transformer_block():
    """Attention has no FLOP count for plain CPU tensors, so it is counted on the meta device."""
    n, t, width = 2, 16, 32
    linear = 2 * n * t * (3 + 1 + 8) * width**2
    product = 2 * n * t * t * width
    forward = linear + 2 * product
    assert count_flops(Block(), torch.zeros(n, t, width), backward=False) == pytest.approx(forward, rel=0.01)
    # The norms have trainable gains, so all inputs need gradients: backward takes twice the products of forward.
    whole = 3 * forward
    assert count_flops(Block(), torch.zeros(n, t, width), backward=True) == pytest.approx(whole, rel=0.01)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


def test_flops_of_an_lstm():
    n, t = 3, 5
    of_inputs, of_state = 2 * n * t * 4 * 16 * 8, 2 * n * t * 4 * 16 * 16
    forward = of_inputs + of_state
    assert count_flops(Recurrent(), torch.zeros(n, t, 8), backward=False) == pytest.approx(forward, rel=0.01)
    # The data and the initial state need no gradient.
    whole = 2 * of_inputs + 3 * of_state - of_state / t
    counted = count_flops(Recurrent(), torch.zeros(n, t, 8), backward=True)
    assert counted == pytest.approx(whole, rel=0.01)


def test_frozen_parameters_need_no_gradient():
    net = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 4))
    whole = count_flops(net, torch.zeros(10, 16), backward=True)
    net[0].requires_grad_(False)
    assert whole - count_flops(net, torch.zeros(10, 16), backward=True) == 2 * 10 * (16 * 32 + 32 * 4)


def test_a_step_budget_is_kept_and_the_same_seed_gives_the_same_result():
    outcomes = [run(table_task(), Budget(steps=20))[0] for _ in range(2)]
    assert outcomes[0].kind is OutcomeKind.COMPLETE
    assert outcomes[0].cost.steps == 20
    assert outcomes[0].final == outcomes[1].final


def test_a_flops_budget_covers_evaluation_and_test():
    budget = Budget(flops=5e6)
    evaluation = Cost(flops=2.0 * 40 * 24)
    outcome, reports = run(table_task(), budget, evaluation=evaluation, finalization=Cost(flops=2.0 * 200 * 24))
    assert outcome.cost.flops <= 5e6 * 1.01
    assert [r.progress for r in reports][-1] == 1.0


def test_epochs_are_passes_over_the_training_part():
    outcome, _ = run(table_task(), Budget(epochs=2))
    assert outcome.cost.samples == pytest.approx(2 * 160, abs=64)


def test_a_diverging_model_is_infeasible():
    class Broken(nn.Linear):
        def forward(self, x):
            return super().forward(x) * float("nan")

    outcome, _ = run(table_task(model=lambda: Broken(8, 3)), Budget(steps=5))
    assert outcome.kind is OutcomeKind.INFEASIBLE


def test_regression_is_scaled_inside_and_scaled_back():
    torch.manual_seed(0)
    x = torch.randn(400, 4)
    y = 1000 + 100 * x[:, 0]
    task = Task(model=lambda: nn.Linear(4, 1), train=(x, y), metric="r2")
    fast = Recipe(Choice("adamw", {"lr": 0.05}))
    outcome, _ = run(task, Budget(steps=200), fast)
    assert outcome.final.metric > 0.95
    assert outcome.final.loss > 0.01  # in the units of the user's targets: (100 x 0.001)^2


class Pairs(Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, i):
        return {"x": torch.full((8,), float(i)), "labels": i % 3}


class Keyword(nn.Linear):
    def forward(self, x):
        return super().forward(x)


@pytest.mark.parametrize(
    "train",
    [
        Pairs(),
        DataLoader(Pairs(), batch_size=4),
        lambda: Pairs(),
        {"x": np.random.default_rng(0).normal(size=(60, 8)), "labels": np.arange(60) % 3},
    ],
)
def test_kinds_of_data(train):
    outcome, _ = run(Task(model=lambda: Keyword(8, 3), train=train), Budget(steps=3))
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason


def test_tensor_dataset_and_numpy_agree():
    x, y = np.random.default_rng(0).normal(size=(90, 8)), np.arange(90) % 3
    tensors = TensorDataset(torch.from_numpy(x).float(), torch.from_numpy(y))
    results = [
        run(Task(model=lambda: nn.Linear(8, 3), train=t), Budget(steps=5))[0].final for t in ((x, y), tensors)
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": (torch.zeros(0, 8), torch.zeros(0))}, "empty"),
        ({"train": (torch.zeros(9, 8), torch.zeros(8))}, "9 inputs but 8 targets"),
        (
            {"train": (torch.zeros(20, 8), torch.arange(20) % 7)},
            "labels of train go from 0 to 6, but the model has 3",
        ),
        ({"metric": "acuracy"}, "did you mean 'accuracy'"),
        ({"loss": "cros_entropy"}, "did you mean 'cross_entropy'"),
        ({"model": lambda: 3}, "must be a factory"),
        ({"kind": "picture"}, "image, tokens, table, series"),
        ({"train": (torch.full((20, 8), float("nan")), torch.zeros(20))}, "not finite"),
    ],
)
def test_bad_tasks_get_a_clear_message(changes, message):
    task = table_task(**changes)
    with pytest.raises(TaskError, match=message):
        from autoaccel.training.data.prepare import build_model

        prepare(task, build_model(task, {}), 0)


def test_time_order_and_groups_are_respected():
    task = table_task(order="time")
    assert prepare(task, nn.Linear(8, 3), 0).split.tolist() == list(range(160, 200))
    groups = np.arange(200) // 10
    split = prepare(table_task(groups=groups), nn.Linear(8, 3), 0).split.numpy()
    inside = set(groups[split])
    outside = set(np.delete(groups, split))
    assert not inside & outside


@pytest.mark.parametrize(
    "metric", ["accuracy", "f1_macro", "roc_auc_ovr", "log_loss", "balanced_accuracy_score", "loss"]
)
def test_metrics(metric):
    outcome, _ = run(table_task(metric=metric), Budget(steps=30))
    assert np.isfinite(outcome.final.metric), outcome.reason
    assert outcome.final.standard_error >= 0


def test_a_recipe_that_needs_what_the_task_has_not_is_refused():
    outcome, _ = run(table_task(), Budget(steps=3), Recipe(techniques={"flip": {}}))
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.reason == "flip needs flips and image: this task does not offer that"


@pytest.mark.parametrize("limit", [1e6, 1.3e6, 2.7e6])
def test_a_flops_budget_is_never_exceeded_by_a_step(limit):
    evaluation = Cost(flops=2.0 * 40 * 24)
    outcome, _ = run(
        table_task(), Budget(flops=limit), evaluation=evaluation, finalization=Cost(flops=2.0 * 200 * 24)
    )
    one_step = 2.0 * 2 * 64 * 24
    assert limit - 2 * one_step < outcome.cost.flops <= limit


@pytest.mark.parametrize("technique", ["ema", "swa", "lawa"])
def test_what_an_average_measures_before_it_is_evaluated_is_set_aside(technique):
    recipe = Recipe(techniques={technique: {"recalibrate": 200}})
    limit, one_step = 2e8, 64 * 3 * 2 * 30_000
    outcome, _ = run(image_task(), Budget(flops=limit), recipe)
    assert outcome.kind is OutcomeKind.COMPLETE
    assert limit - 2 * one_step < outcome.cost.flops <= limit


def test_what_moves_pixels_needs_targets_of_the_whole_image():
    x = torch.rand(40, 1, 8, 8)
    for target, whole in ((torch.arange(40) % 3, True), (torch.rand(40, 3), True), (x, False)):
        width = 1 if not whole else 3
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if whole else []
        task = Task(
            model=lambda w=width, h=head: nn.Sequential(nn.Conv2d(1, w, 3, padding=1), *h), train=(x, target)
        )
        model = build_model(task, {})
        assert ("whole_targets" in task_capabilities(task, prepare(task, model, 0), model)) is whole
