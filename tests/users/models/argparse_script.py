"""My usual training script, with the loop thrown out. Run as `python argparse_script.py --hidden 64`."""

import argparse

import torch
from torch import nn

from autoaccel import Task

parser = argparse.ArgumentParser()
parser.add_argument("--hidden", type=int, default=32)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

g = torch.Generator().manual_seed(args.seed)
X = torch.randn(900, 4, generator=g)
Y = (X[:, 0] * 2 > X[:, 1]).long()

task = Task(
    model=lambda: nn.Sequential(nn.Linear(4, args.hidden), nn.ReLU(), nn.Linear(args.hidden, 2)),
    train=(X[:720], Y[:720]),
    valid=(X[720:], Y[720:]),
)
