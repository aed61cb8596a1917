"""House prices in dollars. I want predictions in dollars!"""

import numpy as np
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(0)
n = 1200
area = rng.normal(1500, 400, n)
rooms = rng.integers(1, 8, n)
age = rng.uniform(0, 100, n)
price = 50_000 + 90 * area + 12_000 * rooms - 300 * age + rng.normal(0, 9_000, n)

X = np.stack([(area - 1500) / 400, (rooms - 4) / 2, (age - 50) / 30], axis=1).astype("float32")
y = price.astype("float32")


def net():
    return nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 1))


task = Task(model=net, train=(X[:1000], y[:1000]), valid=(X[1000:], y[1000:]), metric="mean_absolute_error")
