from torch import nn

from autoaccel import Task

task = Task(model=lambda: nn.Linear(3, 2), train="data/train.csv")
