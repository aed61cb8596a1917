"""What of the user's data is refused before anything is spent, and what is taken as it is meant."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from autoaccel.errors import TaskError
from autoaccel.training.data.prepare import prepare
from autoaccel.training.data.task import Task

X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 3


def prepared(train, **task):
    task = Task(lambda: nn.Linear(6, 3), train, **task)
    return prepare(task, task.model(), 0)


class Samples(Dataset):
    """Samples of X with labels of any type."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return X[index], self.labels[index]


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("made", [lambda y: (X, y), Samples])
def test_a_class_that_the_model_lacks_is_found_at_once(part, made):
    with pytest.raises(TaskError, match=f"labels of {part} go from 1 to 3, but the model has 3 outputs"):
        prepared((X, Y), **{part: made(Y + 1)})


def test_a_label_that_the_training_data_lacks_is_found_at_once():
    train, test = (list("abc" * 20), list("abd" * 20))
    with pytest.raises(TaskError, match="'d'"):
        prepared(Samples(train), test=Samples(test))
    with pytest.raises(TaskError, match="test targets has the label 'd'"):
        prepared((X, np.array(train)), test=(X, np.array(test)))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32"])
@pytest.mark.parametrize("made", [lambda y: (X, y), Samples])
def test_labels_of_any_integers(made, dtype):
    data = prepared(made(Y.numpy().astype(dtype)))
    labels = data.train.take(torch.arange(3))[1]
    assert labels.dtype == torch.long and data.classes == 3


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_string_labels_in_a_frame_of_one_column():
    data = prepared((pd.DataFrame(X.numpy()), pd.DataFrame({"kind": [*"abc"] * 20})))
    assert data.found.reader.names == ("a", "b", "c")
    assert data.train.take(torch.arange(3))[1].shape == (3,)


def test_a_loader_that_makes_no_batches():
    with pytest.raises(TaskError, match="batch_size=None"):
        prepared(DataLoader(TensorDataset(X, Y), batch_size=None))
