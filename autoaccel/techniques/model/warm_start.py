"""Where the weights start: from a finished model, or from the factory's, made ready to learn again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoaccel.techniques.base import Context, Technique, parameter, technique
from autoaccel.techniques.shared.quantized import plain_state


@technique(
    "shrink_perturb",
    family="model",
    category="initialization",
    tags=("initializes",),
    # Another initialization would overwrite the weights that this one starts from.
    conflicts=("initializes",),
    order=52,
    paper="arXiv 1910.08475",
)
class ShrinkPerturb(Technique):
    """Shrink the weights of a pretrained model and add noise, so that it learns new data as well as a fresh one.

    Args:
        shrink: Factor on every matrix and kernel.
        noise: Standard deviation of what is added to each, as a share of its own.
    """

    shrink: float = parameter(0.6, 0.2, 1.0)
    noise: float = parameter(0.1, 0.0, 0.5)

    def setup(self, context: Context) -> None:
        """Change the weights that the factory gave."""
        shrink_and_perturb(context.model, self.shrink, self.noise, context.shared)


@technique(
    "warm_start",
    family="model",
    category="initialization",
    requires=("reference",),
    tags=("initializes",),
    conflicts=("initializes",),
    order=52,
    paper="arXiv 1910.08475",
)
class WarmStart(ShrinkPerturb):
    """Start from the best finished model's weights, shrunk and with noise."""

    def setup(self, context: Context) -> None:
        """Take the weights over, then change them.

        Raises:
            ValueError: If none of them fits.
        """
        take_over(context.model, plain_state(context.reference()))
        super().setup(context)


@torch.no_grad()
def take_over(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy every parameter and buffer whose name and shape fit; the others stay as they are.

    Raises:
        ValueError: If no parameter fits.
    """
    fitting = {n: t for n, t in model.state_dict().items() if n in weights and weights[n].shape == t.shape}
    if not fitting.keys() & dict(model.named_parameters()).keys():
        raise ValueError("warm_start: no weight of the finished model has a name and shape of this one's")
    for name, own in fitting.items():
        own.copy_(weights[name])


@torch.no_grad()
def shrink_and_perturb(model: nn.Module, shrink: float, noise: float, generator: torch.Generator) -> None:
    """Multiply matrices and kernels by `shrink` and add normal noise of `noise` times their standard deviation.

    Gains and biases stay: a gain starts at one, and not at the mean of noise.

    Args:
        model: Changed in place.
        shrink: Factor.
        noise: Share of each tensor's standard deviation, before it is shrunk.
        generator: Of random numbers on the CPU, the same on all ranks.
    """
    for weight in model.parameters():
        if weight.dim() > 1:
            drawn = torch.randn(weight.shape, generator=generator).to(weight)
            weight.copy_(shrink * weight + noise * weight.std(correction=0) * drawn)
