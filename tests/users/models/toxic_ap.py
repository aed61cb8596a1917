# toxic comments: multi-label, labels are ints in the csv, average precision
import numpy as np
from torch import nn

from autoaccel import Task

rng = np.random.default_rng(31)
emb = rng.normal(size=(1000, 16)).astype("float32")
labels = (emb @ rng.normal(size=(16, 5)) > 3).astype("int64")  # toxic, severe, obscene, threat, insult

task = Task(
    model=lambda: nn.Linear(16, 5),
    train=(emb[:800], labels[:800]),
    valid=(emb[800:], labels[800:]),
    loss="binary_cross_entropy_with_logits",
    metric="average_precision",
)
