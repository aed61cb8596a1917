import numpy as np
import pandas as pd
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(8)
df = pd.DataFrame(
    {
        "age": rng.integers(18, 90, 1100),
        "bmi": rng.normal(26, 4, 1100),
        "smoker": rng.integers(0, 2, 1100).astype(bool),
    }
)
risk = 0.04 * (df.age - 50) + 0.2 * (df.bmi - 26) + 2.0 * df.smoker + rng.normal(0, 0.3, 1100)
df["high_risk"] = (risk > 1).astype(int)
df["age"] = (df.age - 50) / 20
df["bmi"] = (df.bmi - 26) / 4

train_df = df.sample(frac=0.8, random_state=0)  # note: the index is shuffled from here on
valid_df = df.drop(train_df.index)
cols = ["age", "bmi", "smoker"]

task = Task(
    model=lambda: nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 2)),
    train=(train_df[cols].astype("float64"), train_df["high_risk"]),
    valid=(valid_df[cols].astype("float64"), valid_df["high_risk"]),
    metric="f1",
)
