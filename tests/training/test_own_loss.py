"""The loss that a model computes from labels: it is taken for one of torch only where it is that, in any wrapper."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from autoaccel.training.data.prepare import prepare
from autoaccel.training.data.task import Task
from autoaccel.training.rehearsal import rehearse

WORDS = torch.randint(1, 12, (40, 9), generator=torch.Generator().manual_seed(0))


class Sentences(Dataset):
    def __len__(self):
        return len(WORDS)

    def __getitem__(self, index):
        return {"words": WORDS[index], "labels": WORDS[index]}


class Causal(nn.Module):
    """Predicts the next word; an untrained one finds all words about as likely."""

    smoothing = 0.0

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(12, 8), nn.Linear(8, 12)
        nn.init.normal_(self.head.weight, std=1e-4)
        nn.init.zeros_(self.head.bias)

    def forward(self, words, labels=None):
        logits, loss = self.head(self.embed(words)), None
        if labels is not None:
            shown, wanted = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
            loss = F.cross_entropy(shown, wanted, label_smoothing=self.smoothing)
        return SimpleNamespace(logits=logits, loss=loss)


class Smoothed(Causal):
    smoothing = 0.1


class Wrapper(nn.Module):
    """Passes on what it is given, as wrappers for adapters and for several devices do."""

    def __init__(self, model=None):
        super().__init__()
        self.model = model or Causal()

    def forward(self, *parts, **named):
        return self.model(*parts, **named)


class Strict(nn.Module):
    """Takes any name, but nothing besides the words in the end."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(12, 8), nn.Linear(8, 12))

    def forward(self, **named):
        return self.of(**named)

    def of(self, words):
        return self.layers(words)


def found(model):
    torch.manual_seed(0)
    task = Task(model, Sentences())
    return prepare(task, task.model(), 0)


@pytest.mark.parametrize(
    "model",
    [Causal, Wrapper, lambda: nn.DataParallel(Causal()), lambda: torch.compile(Causal(), backend="eager")],
)
def test_a_wrapper_does_not_hide_that_labels_are_of_the_next_position(model):
    data = found(model)
    assert data.objective.name == "cross_entropy" and data.objective.per_sample
    assert data.found.own and data.found.reader.shift


def test_a_wrapper_that_takes_no_labels():
    data = found(Strict)
    assert data.objective.name == "cross_entropy" and not data.found.own


@pytest.mark.parametrize("model", [Smoothed, lambda: Wrapper(Smoothed())])
def test_smoothing_that_costs_nothing_yet_is_seen(model):
    assert found(model).objective.name == "model"


class Prices(Dataset):
    def __len__(self):
        return len(WORDS)

    def __getitem__(self, index):
        return {"words": WORDS[index].float(), "labels": 1e5 + 1e3 * WORDS[index].float().sum()}


class Regression(nn.Module):
    """A model of one output with its own loss."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(9, 1)

    def forward(self, words, labels=None):
        logits = self.head(words)
        loss = None if labels is None else F.mse_loss(logits.squeeze(), labels.squeeze())
        return SimpleNamespace(logits=logits, loss=loss)


def test_targets_are_scaled_where_a_model_returns_an_object():
    lines = rehearse(Task(Regression, Prices()), cpu=True).lines()
    assert any("target scaling: on" in line for line in lines)
