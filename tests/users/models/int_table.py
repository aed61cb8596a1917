import numpy as np
from torch import nn

from autoaccel import Task

# counts per day, int64; a plain MLP, no embeddings
rng = np.random.default_rng(2)
counts = rng.poisson(3, size=(900, 8))
busy = (counts[:, :4].sum(1) > counts[:, 4:].sum(1)).astype(int)

task = Task(
    model=lambda: nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2)),
    train=(counts[:720], busy[:720]),
    valid=(counts[720:], busy[720:]),
)
