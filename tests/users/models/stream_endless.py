# A simulator: there is no end and no length.
import itertools

import numpy as np
import torch
from torch import nn
from torch.utils.data import IterableDataset, get_worker_info

from autoaccel import Task


class Simulator(IterableDataset):
    def __iter__(self):
        info = get_worker_info()
        start, step = (info.id, info.num_workers) if info else (0, 1)
        for i in itertools.count(start, step):
            rng = np.random.default_rng(i)
            x = rng.normal(size=4).astype("float32")
            y = np.float32(np.sin(x[0]) + 0.5 * x[1])
            yield torch.from_numpy(x), torch.tensor([y])


def surrogate():
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))


task = Task(surrogate, train=Simulator(), valid_samples=256, target_scaling=False)
