"""Streams: what is kept for validation has no part in training, nor in the statistics of the targets."""

import torch
from torch import nn
from torch.utils.data import IterableDataset

from autoaccel import Task
from autoaccel.training.data.prepare import prepare


class Rising(IterableDataset):
    def __iter__(self):
        for i in range(100):
            yield torch.tensor([float(i), 1.0]), torch.tensor([1000.0 if i < 20 else float(i)])


def test_the_first_samples_of_a_stream_are_for_validation_alone():
    task = Task(lambda: nn.Linear(2, 1), train=Rising(), valid_samples=20)
    data = prepare(task, task.model(), 0)
    expected = torch.arange(20.0, 100.0).double()
    assert float(data.objective.scaling.mean) == float(expected.mean())
    assert data.valid.take(torch.arange(20))[1].unique().tolist() == [1000.0]
    assert next(data.train.source.samples())[1].item() == 20.0
