import numpy as np
from torch import nn

from autoaccel import Task

# np.loadtxt gives the labels as a column, shape (n, 1)
rng = np.random.default_rng(44)
table = rng.normal(size=(700, 6))
label = (table[:, [0]] > 0).astype(np.int64) + (table[:, [1]] > 0.5)
print(label.shape)

task = Task(
    model=lambda: nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3)),
    train=(table[:500], label[:500]),
    valid=(table[500:], label[500:]),
    loss="cross_entropy",
)
