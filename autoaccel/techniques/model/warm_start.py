"""Start from the weights of a finished or pretrained model, shrunk and perturbed so that they train well again."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from autoaccel.techniques.base import Context, Technique, parameter, technique
from autoaccel.techniques.shared.frozen import frozen_tensors, trained
from autoaccel.techniques.shared.quantized import plain_state


@technique(
    "shrink_perturb",
    family="model",
    category="initialization",
    tags=("initializes",),
    # Another initialization would overwrite the weights that this one keeps.
    conflicts=("initializes",),
    order=52,
    paper="arXiv 1910.08475",
)
class ShrinkPerturb(Technique):
    """Shrink pretrained weights and add noise, so that the model learns new data like a fresh one.

    Args:
        shrink: Factor on every matrix and kernel.
        noise: Standard deviation of the added noise, relative to that of each weight tensor.
    """

    shrink: float = parameter(0.6, 0.2, 1.0)
    noise: float = parameter(0.1, 0.0, 0.5, most=math.inf)

    def setup(self, context: Context) -> None:
        """Shrink and perturb the weights of the model factory."""
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
    """Start from the weights of the run's best finished model, shrunk and with added noise."""

    def setup(self, context: Context) -> None:
        """Copy the matching weights, then shrink and perturb them.

        Raises:
            ValueError: If no weight matches.
        """
        take_over(context.model, plain_state(context.reference()))
        super().setup(context)


@torch.no_grad()
def take_over(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy every parameter and buffer whose name and shape match, except what the user froze.

    Raises:
        ValueError: If no parameter matches.
    """
    frozen, own = frozen_tensors(model), model.state_dict(keep_vars=True)
    alike = {n: t for n, t in own.items() if n in weights and isinstance(t, Tensor) and weights[n].shape == t.shape}
    fitting = {name: t for name, t in alike.items() if id(t) not in frozen}
    if not fitting.keys() & dict(model.named_parameters()).keys():
        raise ValueError("warm_start: no weight of the finished model has a name and shape of this one's")
    for name, tensor in fitting.items():
        tensor.copy_(weights[name])


@torch.no_grad()
def shrink_and_perturb(model: nn.Module, shrink: float, noise: float, generator: torch.Generator) -> None:
    """Multiply matrices and kernels by `shrink` and add normal noise of `noise` times their standard deviation.

    What the user froze stays unchanged, and so do gains and biases, since gains start at one, not at the zero mean
    of the noise.

    Args:
        model: Changed in place.
        shrink: Factor on each tensor.
        noise: Standard deviation of the noise relative to that of each tensor before shrinking.
        generator: CPU generator, seeded alike on all ranks.
    """
    for weight in trained(model):
        if weight.dim() > 1:
            dtype = torch.complex64 if weight.is_complex() else torch.float32
            drawn = torch.randn(weight.shape, generator=generator, dtype=dtype).to(weight)
            weight.copy_(shrink * weight + noise * weight.std(correction=0) * drawn)
