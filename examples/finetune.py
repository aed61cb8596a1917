"""A net pretrained on clothes learns handwritten digits from 300 examples.

    autoaccel train examples/images.py --recipe plain --budget 2m --out runs/clothes
    autoaccel tune examples/finetune.py --space finetune --budget 2m

The second command starts from the weights of the first. The 8x8 pixel digits come with scikit-learn and are
enlarged to the size of the clothes images.
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from images import resnet
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from autoaccel import Task

WEIGHTS = Path(os.environ.get("AUTOACCEL_PRETRAINED", "runs/clothes/model.safetensors"))


def pretrained() -> nn.Module:
    """Return the net with its weights from clothes, except for the last layer, whose classes differ."""
    model = resnet(1)
    weights = load_file(WEIGHTS)
    last = next(name for name, _ in reversed(list(model.named_children())))
    model.load_state_dict({k: v for k, v in weights.items() if not k.startswith(f"{last}.")}, strict=False)
    return model


def digits(first: int, last: int) -> tuple[Tensor, Tensor]:
    """Return images [n, 1, 28, 28] with mean 0 and standard deviation 1, and their classes."""
    x, y = load_digits(return_X_y=True)
    x = torch.as_tensor(x[first:last]).float().view(-1, 1, 8, 8)
    x = F.interpolate((x - x.mean()) / x.std(), (28, 28), mode="bilinear")
    return x, torch.as_tensor(y[first:last])


task = Task(
    model=pretrained, train=digits(0, 300), valid=digits(300, 800), test=digits(800, 1797), metric="accuracy"
)
