from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoaccel import Task


@dataclass
class Prediction:
    """Mean and log variance of a Gaussian."""

    mean: Tensor
    log_var: Tensor


class Heteroscedastic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 2))

    def forward(self, x: Tensor) -> Prediction:
        mean, log_var = self.net(x).unbind(-1)
        return Prediction(mean, log_var)


def gaussian_nll(pred: Prediction, y: Tensor) -> Tensor:
    return 0.5 * (pred.log_var + (y - pred.mean) ** 2 / pred.log_var.exp())


gen = torch.Generator().manual_seed(23)
x = torch.randn(1000, 3, generator=gen)
y = x[:, 0] + x[:, 1] * x[:, 2] + torch.randn(1000, generator=gen) * (0.1 + 0.3 * (x[:, 0] > 0))

task = Task(Heteroscedastic, (x[:800], y[:800]), valid=(x[800:], y[800:]), loss=gaussian_nll)
