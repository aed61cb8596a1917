import numpy as np
from torch import nn

from autoaccel import Task

X, y = np.zeros((120, 3)), np.zeros(118, dtype=int)  # lost the header and the last row somewhere
task = Task(model=lambda: nn.Linear(3, 2), train=(X, y))
