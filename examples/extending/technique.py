"""A technique of your own, declared in the model file. Run: python examples/extending/technique.py

Recipes and search spaces use it by its name, as any other. `autoaccel.testing.check_technique` tests it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sklearn.datasets import load_digits
from torch import nn

from autoaccel import Recipe, Task, train
from autoaccel.techniques.base import Context, Number, Technique, parameter, technique, value


@technique("gradient_noise", family="optimization", category="optimizer", paper="arXiv 1511.06807")
class GradientNoise(Technique):
    """Add normal noise to the gradients, less and less of it.

    Args:
        scale: Standard deviation at the start.
        decay: Power of the remaining progress that the standard deviation follows.
    """

    scale: Number = parameter(0.01, 1e-4, 0.1, log=True)
    decay: float = parameter(0.55, 0.3, 1.0)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Change the gradients before the optimizer's step."""
        std = value(self.scale, context.p) * (1 - context.p) ** self.decay
        for p in context.model.parameters():
            if p.grad is not None:
                noise = torch.randn(p.shape, generator=context.generator, device=p.device)
                p.grad.add_(noise.to(p.grad.dtype), alpha=std)
        yield


def net() -> nn.Module:
    """A small classifier."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


x, y = load_digits(return_X_y=True)
task = Task(model=net, train=((x / 16).astype("float32"), y))

if __name__ == "__main__":
    print(train(__file__, Recipe(techniques={"gradient_noise": {"scale": 0.02}}), "15s"))
