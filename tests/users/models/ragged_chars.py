import torch
from torch import nn

from autoaccel import Task

# next character on names of different length. Half of the table is padding, target -100 there.
g = torch.Generator().manual_seed(11)


def names(n):
    length = torch.randint(2, 15, (n, 1), generator=g)
    first = torch.randint(1, 27, (n, 1), generator=g)
    chars = (first + 5 * torch.arange(15)) % 26 + 1
    inside = torch.arange(14) < length
    x = chars[:, :-1].masked_fill(~inside, 0)
    y = chars[:, 1:].masked_fill(~inside, -100)
    y[: n // 10] = -100  # some names are test names and must not be learned
    return x, y


class CharLSTM(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.emb = nn.Embedding(27, 24, padding_idx=0)
        self.rnn = nn.LSTM(24, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 27)

    def forward(self, x):
        return self.out(self.rnn(self.emb(x))[0])


task = Task(CharLSTM, train=names(900), valid=names(200), metric="perplexity")
