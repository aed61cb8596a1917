"""Digests of data and files: what changes is seen, and what does not change gives the same."""

import importlib.util
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task
from autoaccel.training.identity import data_digest, file_digests

X, Y = torch.arange(600.0).view(100, 6), torch.arange(100) % 3


class Samples(Dataset):
    def __init__(self, x, y, noise=0.0):
        self.x, self.y, self.noise = x, y, noise

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] + self.noise * torch.randn(6), self.y[i]


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)

    def __len__(self):
        return 100


def digest(train, test=None, **options):
    task = Task(model=lambda: nn.Linear(6, 3), train=train, test=test, **options)
    return data_digest(prepare(task, build_model(task, {}), 0))


def changed(data, at=7):
    other = data.clone()
    other[at] += 1
    return other


@pytest.mark.parametrize(
    "other",
    [(changed(X), Y), (X, Y.roll(1)), (X[:99], Y[:99])],
    ids=["an input", "the labels", "the length"],
)
def test_other_arrays_have_another_digest(other):
    assert digest((X, Y)) == digest((X.clone(), Y.clone())) != digest(other)


def test_the_test_set_counts():
    assert digest((X, Y), (X, Y)) not in (digest((X, Y)), digest((X, Y), (changed(X), Y)))


def test_a_dataset_that_gives_other_samples_has_another_digest():
    same = digest(Samples(X, Y))
    assert same == digest(Samples(X, Y)) != digest(Samples(X + 1, Y))


def test_a_dataset_that_draws_at_random_has_the_same_digest_every_time():
    torch.manual_seed(1)
    one = digest(Samples(X, Y, noise=1.0))
    torch.manual_seed(2)
    assert one == digest(Samples(X, Y, noise=1.0))


def test_a_stream_is_not_read_for_its_digest():
    streams = Stream(), Stream()
    assert digest(streams[0], valid_samples=20) == digest(streams[1], valid_samples=20)


def test_the_files_of_a_task_are_those_beside_it(tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    for name in ("model.py", "parts/layers.py", "not_imported.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    for name in ("model", "parts.layers"):
        path = tmp_path / f"{name.replace('.', '/')}.py"
        monkeypatch.setitem(
            sys.modules, name, importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, path))
        )
    before = file_digests(f"{tmp_path}/model.py:task")
    assert sorted(before) == ["model.py", "parts/layers.py"]
    (tmp_path / "parts" / "layers.py").write_text("# other\n")
    after = file_digests(f"{tmp_path}/model.py")
    assert after["model.py"] == before["model.py"] and after["parts/layers.py"] != before["parts/layers.py"]
    assert file_digests("package.module:task") == {}
