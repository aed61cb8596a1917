"""Three cultivars of wine, judged by AUC (one against the rest). Some sheets lack the label: -100."""

import numpy as np
from torch import nn
from torch.nn import functional as F

from autoaccel import Task

rng = np.random.default_rng(178)
cultivar = rng.integers(0, 3, 900)
chemistry = rng.normal(size=(3, 13))[cultivar] * 0.6 + rng.normal(size=(900, 13))
cultivar[rng.random(900) < 0.2] = -100  # the cellar lost the sheet

X_train, X_valid = chemistry[:700].astype("float32"), chemistry[700:].astype("float32")
y_train, y_valid = cultivar[:700], cultivar[700:]


class Wine(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.hidden = nn.Linear(13, width)
        self.out = nn.Linear(width, 3)

    def forward(self, x):
        return self.out(F.elu(self.hidden(x)))


task = Task(model=Wine, train=(X_train, y_train), valid=(X_valid, y_valid), metric="roc_auc")
