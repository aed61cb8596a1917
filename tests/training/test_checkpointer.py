"""A training that goes on in another process is the one that would have been."""

import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from sample_tasks import image_task
from torch import nn

from autoaccel.core import checkpoints
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.trial import OutcomeKind, Purpose, TrialRequest
from autoaccel.techniques.optimization.averaging import Ema
from autoaccel.training import checkpointer
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

RECIPE = Recipe(
    optimizer=Choice("adamw", {}),
    learning_rate=Choice("cosine", {}),
    techniques={"ema": {}, "mixup": {}, "layer_freezing": {}},
)
FLOPS = Budget(flops=6e7)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """These trainings take less than a second, in which there would be one checkpoint at most."""
    for name, value in (("SHARE", 1.0), ("EVERY", 0.0), ("AT_LEAST", 0.0)):
        monkeypatch.setattr(checkpointer, name, value)


class Ticking(nn.Sequential):
    """A model whose every forward takes a hundredth of a second."""

    clock = SimulatedClock()

    def forward(self, x):
        self.clock.sleep(0.01)
        return super().forward(x)


def net():
    return Ticking(
        nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10)
    )


class Session:
    """Trials of one training, each in a process of its own as far as they can tell."""

    def __init__(self, folder, budget, recipe=RECIPE):
        self.folder, self.reports = folder, []
        self.request = TrialRequest(
            0, recipe, budget, Purpose.FINAL, 3, (0.25, 0.5, 0.75, 1.0), keep_best=True, test=True, valid_samples=0
        )

    def run(self, steps=None, request=None):
        """Run a trial until it has taken some steps, and is preempted then; to its end if None."""
        request = request or self.request
        self.clock = Ticking.clock = SimulatedClock()
        left = [steps]

        def stopped():
            if left[0] is not None:
                left[0] -= 1
            return left[0] is not None and left[0] < 0

        environment = TrialEnvironment(
            self.clock,
            0.0,
            lambda report: self.reports.append(report) or True,
            self.folder / "trials" / f"{request.trial:04d}",
            cpu=True,
            stopped=stopped,
            preempted=stopped,
        )
        torch.manual_seed(99)
        return run_trial(image_task(net), request, environment)

    def going_on(self, outcome, trial=1, **changes):
        return replace(self.request, trial=trial, resumes=trial - 1, carried=outcome.saved, **changes)

    def weights(self, trial):
        return load_file(self.folder / "trials" / f"{trial:04d}" / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("steps", [0, 1, 7, 30])
def test_under_a_budget_of_flops_it_ends_as_if_nothing_had_happened(tmp_path, steps):
    unbroken = Session(tmp_path / "a", FLOPS)
    whole = unbroken.run()
    assert whole.kind is OutcomeKind.COMPLETE and whole.cost.steps > 40

    broken = Session(tmp_path / "b", FLOPS)
    stopped = broken.run(steps)
    assert stopped.kind is OutcomeKind.PREEMPTED and stopped.saved.steps == steps
    assert stopped.saved.flops == stopped.cost.flops
    broken.reports.clear()
    outcome = broken.run(request=broken.going_on(stopped))
    assert same(broken.weights(1), unbroken.weights(0))
    assert outcome.test == whole.test and outcome.cost.without(frozenset({"seconds"})) == whole.cost.without(
        frozenset({"seconds"})
    )
    # The trial that goes on says again what was said before, so its record is whole.
    for one, other in zip(broken.reports, unbroken.reports, strict=True):
        assert replace(one, trial=0, cost=Cost()) == replace(other, cost=Cost()) and one.trial == 1


def test_it_may_be_stopped_again_and_again(tmp_path):
    unbroken, broken = Session(tmp_path / "a", FLOPS), Session(tmp_path / "b", FLOPS)
    unbroken.run()
    outcome, trial = broken.run(9), 0
    while outcome.kind is OutcomeKind.PREEMPTED:
        trial += 1
        outcome = broken.run(9, broken.going_on(outcome, trial))
    assert trial > 4 and same(broken.weights(trial), unbroken.weights(0))


def test_under_a_budget_of_seconds_what_is_left_of_progress_takes_what_is_left_of_them(tmp_path):
    session = Session(tmp_path, Budget(seconds=3.0))
    stopped = session.run(80)
    assert 0.8 < stopped.saved.seconds < 1.8
    at, shown = session.reports[-1].progress, len(session.reports)
    # Half a second passed before it could go on.
    session.request = replace(session.request, budget=Budget(seconds=2.5))
    outcome = session.run(request=session.going_on(stopped))
    again = [report.progress for report in session.reports[shown:]]
    assert again[shown - 1] == at and again == sorted(again) and again[-1] == 1.0
    assert 2.3 < outcome.cost.seconds <= 2.5
    assert outcome.cost.seconds == pytest.approx(stopped.saved.seconds + session.clock.now())


def damage(checkpoint):
    checkpoint.state.write_bytes(checkpoint.state.read_bytes()[:-9])


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, capfd):
    session = Session(tmp_path, FLOPS)
    stopped = session.run(30)
    newest, previous = checkpoints.checkpoints(tmp_path / "trials/0000")
    assert previous.spent.steps < newest.spent.steps == 30
    damage(newest)
    outcome = session.run(request=session.going_on(stopped))
    assert outcome.kind is OutcomeKind.COMPLETE and outcome.cost.flops <= FLOPS["flops"]
    assert "state.pt is damaged" in capfd.readouterr().out
    # What was between the two is charged once and trained for nothing, so less is left.
    assert outcome.cost.steps > 40


def test_without_an_intact_checkpoint_it_begins_again_with_what_is_left(tmp_path, capfd):
    session = Session(tmp_path, FLOPS)
    stopped = session.run(20)
    for made in checkpoints.checkpoints(tmp_path / "trials/0000"):
        damage(made)
    outcome = session.run(request=session.going_on(stopped))
    assert outcome.kind is OutcomeKind.COMPLETE and outcome.final.progress <= 1.0
    assert stopped.saved.flops < outcome.cost.flops <= FLOPS["flops"]
    assert "the training begins again" in capfd.readouterr().out


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_code_is_not_read(tmp_path, capfd):
    session = Session(tmp_path, FLOPS)
    stopped = session.run(20)
    folder, marker = tmp_path / "trials/0000", tmp_path / "marker"
    for _ in range(2):  # whole and with checksums that are right
        checkpoints.write(folder, stopped.saved, lambda file: torch.save({"model": Hostile(marker)}, file))
    outcome = session.run(request=session.going_on(stopped))
    assert outcome.kind is OutcomeKind.COMPLETE and not marker.exists()
    assert "cannot be read" in capfd.readouterr().out


def test_a_state_that_cannot_be_saved_costs_the_checkpoints_and_not_the_training(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(
        Ema, "state_dict", lambda self: {"average": self.average, "last": Hostile(tmp_path / "marker")}
    )
    outcome = Session(tmp_path, FLOPS).run()
    assert outcome.kind is OutcomeKind.COMPLETE and not (tmp_path / "marker").exists()
    assert "no checkpoints: its state cannot be saved" in capfd.readouterr().out
    assert not checkpoints.checkpoints(tmp_path / "trials/0000")


def test_a_checkpoint_that_does_not_fit_is_not_forced_into_the_training(tmp_path, capfd):
    """As where the file of the model was changed behind the run's back."""
    session = Session(tmp_path, FLOPS)
    stopped = session.run(20)
    monkey = replace(session.request, recipe=replace(RECIPE, optimizer=Choice("sgd", {})))
    session.request = monkey
    outcome = session.run(request=session.going_on(stopped))
    assert outcome.kind is OutcomeKind.COMPLETE and "the checkpoint does not fit" in capfd.readouterr().out


def test_what_has_begun_to_finish_early_leaves_no_checkpoint(tmp_path):
    """A run that is resumed has time again, and should not go on from a learning rate near 0."""
    session = Session(tmp_path, Budget(seconds=20.0))
    asked = []
    environment = TrialEnvironment(
        Ticking.clock,
        0.0,
        lambda _: True,
        tmp_path,
        cpu=True,
        finishing=lambda: asked.append(1) or len(asked) > 100,
    )
    Ticking.clock = environment.clock
    outcome = run_trial(image_task(net), session.request, environment)
    assert outcome.reason == "asked to finish early"
    assert all(made.spent.steps <= 100 for made in checkpoints.checkpoints(tmp_path))


@pytest.mark.parametrize(
    "recipe", [RECIPE, Recipe(optimizer=Choice("sgd", {"lr": 0.1}))], ids=["techniques", "plain"]
)
def test_one_that_was_cut_off_delivers_the_best_weights_of_its_checkpoint(tmp_path, recipe):
    """What is delivered scores as the report said, before the cut, and no step is taken for it."""
    session = Session(tmp_path, FLOPS, recipe)
    stopped = session.run(30)
    said, steps = max(session.reports, key=lambda report: report.metric), stopped.saved.steps
    assert len(session.reports) >= 1
    outcome = session.run(request=session.going_on(stopped, rescue=True))
    assert outcome.kind is OutcomeKind.COMPLETE and outcome.cost.steps == steps
    assert outcome.final.metric == pytest.approx(said.metric) and outcome.final.progress == said.progress
    assert outcome.reason == f"cut off; the weights after {said.progress:.0%} are kept"
    assert session.weights(1)


def test_without_an_intact_checkpoint_nothing_is_delivered(tmp_path):
    session = Session(tmp_path, FLOPS)
    stopped = session.run(20)
    for made in checkpoints.checkpoints(tmp_path / "trials" / "0000"):
        made.state.write_bytes(b"torn")
    outcome = session.run(request=session.going_on(stopped, rescue=True))
    assert outcome.kind is OutcomeKind.FAILED and not (tmp_path / "trials/0001/model.safetensors").exists()
