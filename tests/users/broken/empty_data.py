import pandas as pd
from torch import nn

from autoaccel import Task

df = pd.DataFrame({"country": ["DE", "FR", "IT"], "a": [1.0, 2.0, 3.0], "y": [0, 1, 0]})
df = df[df.country == "Germany"]

task = Task(model=lambda: nn.Linear(1, 2), train=(df[["a"]], df["y"]))
