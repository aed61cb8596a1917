# three-class AUC as in my sklearn notebook
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from autoaccel import Task


def auc_ovr(y_true, y_prob):
    return roc_auc_score(y_true, y_prob, multi_class="ovr")


g = torch.Generator().manual_seed(0)
x = torch.randn(300, 5, generator=g)
task = Task(lambda: nn.Linear(5, 3), (x, x[:, :3].argmax(1)), metric=auc_ovr, direction="max")
