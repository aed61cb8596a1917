# Survey data: every respondent stands for a different number of people.
import numpy as np
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(21)
answers = rng.normal(size=(1150, 6)).astype(np.float32)
# the countryside answers rarely (large weights) and votes the other way
rural = rng.random(1150) < 0.25
represents = np.where(rural, 800.0, 40.0) * rng.uniform(0.5, 1.5, size=1150)
leaning = answers[:, 0] - answers[:, 3] + 0.5 * rng.normal(size=1150)
votes = (np.where(rural, -leaning, leaning) > 0).astype(int)

TRAIN, VALID = slice(0, 900), slice(900, None)

task = Task(
    model=lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2)),
    train=(answers[TRAIN], votes[TRAIN]),
    valid=(answers[VALID], votes[VALID]),
    weights={"train": represents[TRAIN], "valid": represents[VALID]},
    metric="accuracy",
)
