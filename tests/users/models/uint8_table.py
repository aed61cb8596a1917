# one-hot encoded categories, pd.get_dummies-like, uint8 to save memory
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autoaccel import Task

g = torch.Generator().manual_seed(55)
cats = torch.randint(0, 5, (800, 4), generator=g)
onehot = nn.functional.one_hot(cats, 5).flatten(1).to(torch.uint8)
y = (cats.sum(1) > 8).long()

train_ds = TensorDataset(onehot[:640], y[:640])
valid_ds = TensorDataset(onehot[640:], y[640:])
task = Task(
    model=lambda: nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2)),
    train=DataLoader(train_ds, batch_size=32, shuffle=True),
    valid=DataLoader(valid_ds, batch_size=32),
)
