"""Models of a kind that generic code stumbles over, each with a task that trains it in a moment."""

import threading

import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from autoaccel.training.data.task import Task


class Graph(nn.Module):
    """A table model that mixes its features by a sparse matrix, which is a buffer."""

    def __init__(self, layout):
        super().__init__()
        matrix = torch.diag(torch.full((8,), 0.5)) + torch.diag(torch.full((7,), 0.25), 1)
        self.register_buffer("adjacency", matrix.to_sparse(layout=layout))
        self.first, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.first(torch.sparse.mm(self.adjacency, x.T).T).relu())


class Bag(nn.Module):
    """A text model whose embeddings have sparse gradients, one of them through the functional form."""

    def __init__(self):
        super().__init__()
        self.table, self.bag = nn.Embedding(20, 8, sparse=True), nn.EmbeddingBag(20, 8, sparse=True, mode="sum")
        self.free = nn.Parameter(torch.randn(20, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        free = nn.functional.embedding(x, self.free, sparse=True)
        return self.head(self.table(x).mean(1) + self.bag(x) + free.mean(1))


class Spectral(nn.Module):
    """A model with complex weights."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 16, dtype=torch.cfloat) / 4)
        self.mixed = nn.Linear(16, 16, dtype=torch.cfloat)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.mixed(torch.fft.rfft(x) @ self.weight).abs())


class Stateful(nn.Module):
    """A model with extra state that is a dict, and a counter in it."""

    def __init__(self):
        super().__init__()
        self.body, self.scale = nn.Linear(8, 3), {"factor": 2.0, "shift": torch.zeros(3), "seen": 0}

    def forward(self, x):
        self.scale["seen"] += self.training
        return self.scale["factor"] * self.body(x) + self.scale["shift"]

    def get_extra_state(self):
        return self.scale

    def set_extra_state(self, state):
        self.scale = state


class Remembering(nn.Module):
    """A model that keeps an activation, which is part of a graph and cannot be copied."""

    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)

    def forward(self, x):
        self.last = self.norm(self.body(x)).relu()
        return self.head(self.last)


class Locked(nn.Module):
    """A model with a lock, which can be neither copied nor pickled."""

    def __init__(self):
        super().__init__()
        self.lock, self.body = threading.Lock(), nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.1), nn.Linear(16, 3))

    def forward(self, x):
        with self.lock:
            return self.body(x)


def lazy():
    """A model whose layers learn their sizes from the first batch."""
    return nn.Sequential(nn.LazyLinear(16), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3))


def sized():
    model = lazy()
    model(torch.zeros(2, 8))
    return model


def parametrized(wrap):
    return lambda: nn.Sequential(
        wrap(nn.Linear(8, 16)), nn.ReLU(), wrap(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 3)
    )


def convolutional():
    kinds = parametrizations.weight_norm, parametrizations.spectral_norm
    convs = [wrap(nn.Conv1d(size, 4, 3, padding=1)) for wrap, size in zip(kinds, (1, 4), strict=True)]
    return nn.Sequential(nn.Unflatten(1, (1, 8)), *convs, nn.Flatten(), nn.Linear(32, 3))


MODELS = {
    "sparse_coo": lambda: Graph(torch.sparse_coo),
    "sparse_csr": lambda: Graph(torch.sparse_csr),
    "sparse_gradients": Bag,
    "complex": Spectral,
    "extra_state": Stateful,
    "activation": Remembering,
    "lock": Locked,
    "lazy": sized,
    "weight_norm": parametrized(parametrizations.weight_norm),
    "spectral_norm": parametrized(parametrizations.spectral_norm),
    "orthogonal": parametrized(parametrizations.orthogonal),
    "old_weight_norm": parametrized(weight_norm),
    "old_spectral_norm": parametrized(spectral_norm),
    "normed_convolutions": convolutional,
}


def odd_task(name):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 8, generator=generator)
    y = (x @ torch.randn(8, 3, generator=generator)).argmax(1)
    if name == "sparse_gradients":
        x = torch.randint(0, 20, (200, 8), generator=generator)
        y = x[:, 0] % 3
    return Task(model=MODELS[name], train=(x[:120], y[:120]), valid=(x[120:], y[120:]), test=(x[120:], y[120:]))
