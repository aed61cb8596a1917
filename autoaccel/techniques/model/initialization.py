"""Initialize models better: with whitening filters, identity convolutions and identity residual blocks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoaccel.techniques.base import Context, Technique, technique
from autoaccel.techniques.shared.frozen import own_weight, trainable
from autoaccel.techniques.shared.modules import evaluating, first_calls, layers_in_order, removed, repeated_blocks
from autoaccel.techniques.shared.tensors import call

IMAGES = 2048
"""Number of training images used for whitening."""
PATCHES = 16
"""Number of patches per image used for whitening."""
RIDGE = 5e-4
"""Share of the mean variance that is added to each variance, so that whitening does not amplify noise."""


@technique(
    "whitening",
    family="model",
    category="initialization",
    requires=("image", "continuous", "convolutions"),
    tags=("initializes",),
    order=53,
    paper="arXiv 2404.00498",
)
class Whitening(Technique):
    """Initialize the first convolution with filters that whiten patches of the training images."""

    def setup(self, context: Context) -> None:
        """Set the filters of the first convolution; filters beyond two per whitening direction stay random."""
        conv, patches = first_patches(context)
        weight = None if conv is None else own_weight(conv)
        if conv is None or weight is None:
            return
        mean, directions = whitening_directions(patches)
        half = directions[: max(1, len(weight) // 2)]
        filters = torch.cat([half, -half])[: len(weight)]
        with torch.no_grad():
            weight[: len(filters)] = filters.view(-1, *weight.shape[1:]).to(weight)
            if conv.bias is not None and trainable(conv.bias):
                conv.bias[: len(filters)] = -(filters @ mean).to(conv.bias)


def whitening_directions(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of patches, shape [n, d], and whitening directions in order of decreasing variance.

    The projection of the patches on each direction has a variance of about 1.

    Returns:
        Shapes [d] and [d, d], one direction per row, in double precision on the CPU.
    """
    patches = patches.double().cpu()
    variance, vectors = torch.linalg.eigh(torch.cov(patches.T).view(patches.shape[1], -1))
    directions = vectors / (variance.clamp(min=0) + RIDGE * variance.mean() + 1e-12).sqrt()
    return patches.mean(0), directions.T.flip(0)


class ReachedError(Exception):
    """Raised to stop a forward pass at the first convolution."""


def first_patches(context: Context) -> tuple[nn.Conv2d | None, Tensor]:
    """Return the 2d convolution that runs first and random patches of its inputs, shape [n, d].

    The forward pass stops at this convolution. If there is none, or if it is grouped, return None and an empty
    tensor.
    """
    found: list[nn.Conv2d] = []
    patches: list[Tensor] = []

    def hook(conv: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(conv, nn.Conv2d)
        if conv.groups == 1:
            found.append(conv)
            patches.append(_random_patches(conv, given[0], context.generator))
        raise ReachedError

    hooks = [m.register_forward_pre_hook(hook) for m in context.model.modules() if isinstance(m, nn.Conv2d)]
    with removed(hooks), torch.no_grad(), evaluating(context.model):
        for inputs in context.training_batches(IMAGES):
            with suppress(ReachedError):
                call(context.model, inputs)
    return (found[0], torch.cat(patches)) if found else (None, torch.empty(0))


def _random_patches(conv: nn.Conv2d, x: Tensor, generator: torch.Generator) -> Tensor:
    patches = F.unfold(x, conv.kernel_size, conv.dilation, stride=conv.stride).transpose(1, 2).flatten(0, 1)
    count = min(len(patches), PATCHES * len(x))
    return patches[torch.randperm(len(patches), generator=generator, device=x.device)[:count]]


@technique(
    "dirac",
    family="model",
    category="initialization",
    requires=("convolutions",),
    tags=("initializes",),
    order=53,
    paper="arXiv 1706.00388; arXiv 2404.00498",
)
class Dirac(Technique):
    """Initialize convolutions to pass their input channels through; remaining filters stay random."""

    def setup(self, context: Context) -> None:
        """Set the first filters of every convolution to the identity."""
        for module in context.model.modules():
            if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                continue
            if (weight := own_weight(module)) is not None:
                identity = nn.init.dirac_(torch.empty_like(weight), module.groups).detach()
                passing = identity.flatten(1).any(1)
                with torch.no_grad():
                    weight[passing] = identity[passing]


@technique(
    "zero_residual",
    family="model",
    category="initialization",
    requires=("blocks",),
    tags=("initializes",),
    order=53,
    paper="arXiv 1706.02677; arXiv 1901.09321",
)
class ZeroResidual(Technique):
    """Zero the last layer of each residual branch, so that blocks pass their input through at first."""

    def setup(self, context: Context) -> None:
        """Zero the layers that make each block an identity; leave a block without such layers unchanged."""
        model, inputs = context.model, next(context.training_batches(2))
        blocks = repeated_blocks(model, inputs)
        with torch.no_grad(), evaluating(model):
            calls = first_calls(blocks, lambda: call(model, inputs))
        with evaluating(model), torch.backends.cudnn.flags(enabled=False):  # cuDNN trains no RNN in eval mode
            for block in blocks:
                silence(block, *calls[block])


def silence(block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Zero one layer or, if that fails, two, so that the block passes its input through; try late layers first.

    Args:
        block: Changed in place. If it ends with a ReLU, it passes on the ReLU of its input.
        given: Arguments of a call, the input first.
        named: Keyword arguments of that call.

    Returns:
        Whether such layers were found; they still get gradients.
    """
    x, *others = given

    def run() -> Tensor:
        output: Tensor = block(x.clone(), *others, **named)  # the block may change its input in place
        return output

    layers = [m for m in layers_in_order(block, run) if any(p.requires_grad for p in m.parameters(recurse=False))]
    layers.reverse()
    for chosen in chain(combinations(layers, 1), combinations(layers, 2)):
        weights = [p for layer in chosen for p in layer.parameters(recurse=False) if p.requires_grad]
        saved = [p.detach().clone() for p in weights]
        torch._foreach_zero_([p.detach() for p in weights])
        if _passes(run(), x, chosen):
            return True
        torch._foreach_copy_([p.detach() for p in weights], saved)
    return False


def _passes(output: Tensor, x: Tensor, zeroed: Sequence[nn.Module]) -> bool:
    if not (torch.equal(output, x) or torch.equal(output, x.relu())):
        return False
    # Zeroing the first of two layers may also silence a branch, but with a ReLU between them neither would learn.
    first = [next(p for p in layer.parameters(recurse=False) if p.requires_grad) for layer in zeroed]
    gradients = torch.autograd.grad((output * torch.randn_like(output)).sum(), first, allow_unused=True)
    return all(gradient is not None and bool(gradient.any()) for gradient in gradients)
