"""Basic VAE, after the PyTorch example. There are no labels."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from autoaccel import Task


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(20, 40)
        self.fc21 = nn.Linear(40, 4)
        self.fc22 = nn.Linear(40, 4)
        self.fc3 = nn.Linear(4, 40)
        self.fc4 = nn.Linear(40, 20)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu
        if self.training:
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


# Reconstruction + KL divergence losses summed over all elements of a sample
def loss_function(output, x):
    recon_x, mu, logvar = output
    bce = F.binary_cross_entropy(recon_x, x, reduction="none").sum(1)
    kld = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1)
    return bce + kld


g = torch.Generator().manual_seed(1)
codes = torch.randint(0, 4, (1000,), generator=g)
pixels = (torch.rand(1000, 20, generator=g) < 0.1).float()
for k in range(4):
    pixels[codes == k, 5 * k : 5 * k + 5] = 1.0

task = Task(model=VAE, train=pixels[:800], valid=pixels[800:], loss=loss_function)
