import pandas as pd
import torch
from torch import nn

from autoaccel import Task

# a NaN was in the csv once, so pandas made the class column float: 0.0, 1.0, 2.0
g = torch.Generator().manual_seed(13)
x = torch.randn(750, 4, generator=g)
frame = pd.DataFrame(x.numpy(), columns=list("abcd"))
frame["cls"] = (x[:, 0] > 0).float().numpy() + (x[:, 2] > 0).float().numpy()

x_cols = list("abcd")
train, test = frame[:600], frame[600:]
task = Task(
    model=lambda: nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3)),
    train=(train[x_cols], train["cls"]),
    valid=(test[x_cols], test["cls"]),
    loss="cross_entropy",
    metric="accuracy",
)
