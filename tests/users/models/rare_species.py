"""Bird calls. One species was recorded only once, all others many times but unevenly."""

import numpy as np
import torch
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(12)
species = np.concatenate([np.repeat([0, 1, 2, 3], [600, 250, 100, 49]), [4]])
rng.shuffle(species)
calls = rng.normal(size=(5, 12))[species] + rng.normal(scale=0.8, size=(1000, 12))

task = Task(
    model=lambda: nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 5)),
    train=(torch.tensor(calls).float(), torch.tensor(species)),
)
