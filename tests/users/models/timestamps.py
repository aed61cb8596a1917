"""Predict the arrival time (unix seconds, float64) of a parcel."""

import numpy as np
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(17)
START = 1_700_000_000.0
features = rng.normal(size=(712, 5))
hours = 3 * features[:, 0] - features[:, 1] + 0.5 * features[:, 2] ** 2
arrival = START + 3600 * hours + rng.normal(scale=60, size=712)


def model():
    return nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 1)).double()


# plenty for a first try
task = Task(
    model=model,
    train=(features[:512], arrival[:512]),
    valid=(features[512:], arrival[512:]),
    metric="mean_absolute_error",
)
