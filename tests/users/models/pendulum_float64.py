# everything in double precision because the integrator downstream needs it
import torch

from autoaccel import Task

torch.manual_seed(0)
theta = torch.rand(1000, dtype=torch.float64) * 3 - 1.5
omega = torch.randn(1000, dtype=torch.float64)
state = torch.stack([theta, omega], dim=1)
acceleration = -torch.sin(theta) - 0.1 * omega


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = torch.nn.Linear(2, 50, dtype=torch.float64)
        self.l2 = torch.nn.Linear(50, 1, dtype=torch.float64)

    def forward(self, s):
        assert s.dtype == torch.float64
        return self.l2(torch.tanh(self.l1(s))).squeeze(1)


task = Task(
    model=Net,
    train=(state[:800], acceleration[:800]),
    valid=(state[800:], acceleration[800:]),
    target_scaling=False,
)
