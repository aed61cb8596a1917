import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from autoaccel import Task

# split as in the old pytorch tutorials: one dataset, two samplers
torch_gen = torch.Generator().manual_seed(10)
X = torch.randn(1000, 8, generator=torch_gen)
Y = (X[:, :4].sum(1) > X[:, 4:].sum(1)).long()
dataset = TensorDataset(X, Y)

indices = np.arange(1000)
np.random.default_rng(42).shuffle(indices)
split = int(np.floor(0.2 * 1000))
val_indices, train_indices = indices[:split], indices[split:]

train_loader = DataLoader(dataset, batch_size=16, sampler=SubsetRandomSampler(train_indices))
validation_loader = DataLoader(dataset, batch_size=16, sampler=SubsetRandomSampler(val_indices))


def create_model():
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2))


task = Task(model=create_model, train=train_loader, valid=validation_loader)
