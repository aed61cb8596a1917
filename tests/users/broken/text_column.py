import pandas as pd
from torch import nn

from autoaccel import Task

df = pd.DataFrame({"age": [20, 30, 40] * 40, "city": ["Bern", "Basel", "Genf"] * 40, "y": [0, 1, 0] * 40})
task = Task(model=lambda: nn.Linear(2, 2), train=(df[["age", "city"]], df["y"]))
