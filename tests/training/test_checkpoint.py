"""Models of unusual kinds train, and their weights are saved, loaded and scored as they were evaluated."""

import io
import os
from pathlib import Path

import pytest
import torch
from odd_models import MODELS, Graph, Spectral, Stateful, lazy, odd_task, sized
from safetensors.torch import load_file, save_file
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import TaskError
from autoaccel.training.best import Best
from autoaccel.training.checkpoint import load_weights, save_weights
from autoaccel.training.run_trial import run_trial
from autoaccel.training.scores import Score
from autoaccel.training.scoring import score_weights
from autoaccel.training.trial_environment import TrialEnvironment

# Torch announces what is new or old in these models, once a process: whichever test comes first would fail.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_and_scores_the_same_after_loading(name, tmp_path):
    task, losses = odd_task(name), []
    environment = TrialEnvironment(
        SimulatedClock(), 0.0, lambda r: losses.append(r.loss) or True, folder=tmp_path, cpu=True
    )
    request = TrialRequest(0, Recipe(), Budget(steps=30), milestones=(0.1, 1.0), test=True)
    outcome = run_trial(task, request, environment)
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    assert losses[1] < losses[0] and outcome.cost.flops > 0
    loaded = score_weights(task, Recipe(), tmp_path / "model.safetensors", SimulatedClock(), 0, cpu=True)
    assert outcome.test["loss"] == losses[1] == pytest.approx(loaded["loss"], rel=1e-6)


def reloaded(model, fresh, folder):
    save_weights(model, folder / "model.safetensors")
    load_weights(fresh, folder / "model.safetensors")
    return fresh


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_a_sparse_buffer_comes_back_with_its_values(layout, tmp_path):
    model = Graph(layout)
    model.adjacency = model.adjacency * 3
    again = reloaded(model, Graph(layout), tmp_path)
    assert again.adjacency.layout is layout
    assert torch.equal(again.adjacency.to_dense(), model.adjacency.to_dense())


def test_extra_state_comes_back_as_it_was(tmp_path):
    model = Stateful()
    model.scale = {"factor": 0.5, "shift": torch.arange(3.0), "seen": 7, "names": ["a", ("b", None)]}
    again = reloaded(model, Stateful(), tmp_path).scale
    assert torch.equal(again.pop("shift"), model.scale["shift"])
    assert again == {"factor": 0.5, "seen": 7, "names": ["a", ("b", None)]}


def test_extra_state_that_only_running_code_could_restore_is_refused_in_one_line(tmp_path):
    model = Stateful()
    model.scale = {"where": Path("/")}
    with pytest.raises(TaskError, match="_extra_state of the model is a dict that cannot be saved") as found:
        save_weights(model, tmp_path / "model.safetensors")
    assert "\n" not in str(found.value)


def test_double_complex_weights_come_back(tmp_path):
    model = Spectral().to(torch.cdouble)
    again = reloaded(model, Spectral().to(torch.cdouble), tmp_path)
    assert torch.equal(again.weight, model.weight) and again.weight.dtype is torch.cdouble


def test_lazy_layers_get_their_sizes_from_the_file(tmp_path):
    model, x = sized().eval(), torch.randn(4, 8)
    fresh = reloaded(model, lazy(), tmp_path)
    assert torch.equal(fresh.eval()(x), model(x)) and type(fresh[0]) is nn.Linear


def test_what_is_stored_as_bytes_runs_no_code_when_it_is_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    file = io.BytesIO()
    torch.save(Evil(), file)
    path = tmp_path / "model.safetensors"
    save_weights(Stateful(), path)
    state = load_file(path)
    assert [name for name in state if name.endswith("#encoded")] == ["_extra_state#encoded"]
    state["_extra_state#encoded"] = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    save_file(state, path)
    with pytest.raises(Exception, match="Weights only load failed"):
        load_weights(Stateful(), path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gets_its_best_weights_back(name):
    """Sparse, complex and parametrized ones, buffers that are not saved, and extra state too."""
    task = odd_task(name)
    model, inputs = task.model(), task.train[0]
    model.register_buffer("unsaved", torch.ones(3), persistent=False)
    best = Best(maximize=False)
    expected = model.eval()(inputs)
    best.offer(model, Score(1.0, 1.0, None), 0.5)
    with torch.no_grad():
        for tensor in (*model.parameters(), *(b for b in model.buffers() if b.layout is torch.strided)):
            tensor.mul_(2)
    model.train()(inputs)
    best.offer(model, Score(2.0, 2.0, None), 1.0, last=True)
    assert best.earlier and best.at == 0.5
    best.restore(model)
    assert torch.equal(model.eval()(inputs), expected) and torch.equal(model.unsaved, torch.ones(3))
