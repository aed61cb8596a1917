"""Read digit strings from a strip of 16 columns with CTC; 0 is the blank and pads the targets."""

import torch
from torch import nn

from autoaccel import Task


def strips(n, seed):
    g = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(n, 16, 5, generator=g)
    y = torch.zeros(n, 4, dtype=torch.long)
    for i in range(n):
        size = int(torch.randint(1, 5, (1,), generator=g))
        y[i, :size] = torch.randint(1, 5, (size,), generator=g)
        for j in range(size):
            x[i, 4 * j : 4 * j + 2, y[i, j]] += 1
    return x, y


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(5, 32, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(64, 5)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.fc(out).log_softmax(-1)


ctc = nn.CTCLoss(blank=0, zero_infinity=True)


def loss(log_probs, y):
    n, t, _ = log_probs.shape
    lengths = (y > 0).sum(1)
    return ctc(log_probs.transpose(0, 1), y, torch.full((n,), t), lengths)


task = Task(Reader, train=strips(640, 0), valid=strips(60, 1), loss=loss)
