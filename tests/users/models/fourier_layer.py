"""A one-layer Fourier neural operator: complex spectral weights."""

import torch
from torch import nn

from autoaccel import Task


class SpectralConv1d(nn.Module):
    def __init__(self, channels, modes):
        super().__init__()
        self.modes = modes
        scale = 1 / channels
        self.weight = nn.Parameter(scale * torch.randn(channels, channels, modes, dtype=torch.cfloat))

    def forward(self, x):
        x_ft = torch.fft.rfft(x)
        out = torch.zeros_like(x_ft)
        out[..., : self.modes] = torch.einsum("nim,iom->nom", x_ft[..., : self.modes], self.weight)
        return torch.fft.irfft(out, n=x.size(-1))


class FNO(nn.Module):
    def __init__(self):
        super().__init__()
        self.lift, self.spectral, self.project = nn.Conv1d(1, 8, 1), SpectralConv1d(8, 5), nn.Conv1d(8, 1, 1)

    def forward(self, u):
        h = self.lift(u)
        return self.project(torch.relu(h + self.spectral(h)))


g = torch.Generator().manual_seed(0)
grid = torch.linspace(0, 1, 33)[:-1]
k = torch.randint(1, 4, (600, 1, 1), generator=g)
phase = 6.283 * torch.rand(600, 1, 1, generator=g)
u0 = torch.sin(6.283 * k * grid + phase)
u1 = 0.8 * torch.sin(6.283 * k * (grid - 0.1) + phase)  # advected and damped

task = Task(
    model=FNO, train=(u0[:480], u1[:480]), valid=(u0[480:], u1[480:]), loss="mse_loss", target_scaling=False
)
