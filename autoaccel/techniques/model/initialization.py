"""Better starting points: filters that whiten the data, convolutions and blocks that pass their input through."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoaccel.techniques.base import Context, Technique, technique
from autoaccel.techniques.shared.modules import evaluating, first_calls, layers_in_order, removed, repeated_blocks
from autoaccel.techniques.shared.tensors import call

IMAGES = 2048
PATCHES = 16
"""Patches of each image that whitening looks at."""
RIDGE = 5e-4
"""Share of the mean variance that is added to each, so that noise is not blown up to the size of the rest."""


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
    """Start with first filters that decorrelate the pixels of the training images."""

    def setup(self, context: Context) -> None:
        """Set the first convolution's filters; those beyond the number of directions stay random."""
        conv, patches = first_patches(context)
        if conv is None:
            return
        mean, directions = whitening_directions(patches)
        half = directions[: max(1, len(conv.weight) // 2)]
        filters = torch.cat([half, -half])[: len(conv.weight)]
        with torch.no_grad():
            conv.weight[: len(filters)] = filters.view(-1, *conv.weight.shape[1:]).to(conv.weight)
            if conv.bias is not None:
                conv.bias[: len(filters)] = -(filters @ mean).to(conv.bias)


def whitening_directions(patches: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of patches of shape [n, d], and directions of falling variance that have about variance 1 each.

    Returns:
        Shapes [d] and [d, d], double precision, on the CPU.
    """
    patches = patches.double().cpu()
    variance, vectors = torch.linalg.eigh(torch.cov(patches.T).view(patches.shape[1], -1))
    directions = vectors / (variance.clamp(min=0) + RIDGE * variance.mean() + 1e-12).sqrt()
    return patches.mean(0), directions.T.flip(0)


class ReachedError(Exception):
    """A forward has come to the layer that was looked for, and need not go on."""


def first_patches(context: Context) -> tuple[nn.Conv2d | None, Tensor]:
    """The convolution that runs first, and random patches of training images as it sees them, shape [n, d].

    No layer with weights runs. There is no convolution in the result if the first has groups.
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
    """Start with convolutions that pass their input channels through; filters beyond those stay random."""

    def setup(self, context: Context) -> None:
        """Set the first filters of every convolution."""
        for module in context.model.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                identity = nn.init.dirac_(torch.empty_like(module.weight), module.groups).detach()
                passing = identity.flatten(1).any(1)
                with torch.no_grad():
                    module.weight[passing] = identity[passing]


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
    """Start with residual blocks that pass their input through: the last layer of each branch is zero."""

    def setup(self, context: Context) -> None:
        """Zero what makes each block an identity; a block where nothing does is left alone."""
        model, inputs = context.model, next(context.training_batches(2))
        blocks = repeated_blocks(model, inputs)
        with torch.no_grad(), evaluating(model):
            calls = first_calls(blocks, lambda: call(model, inputs))
        with evaluating(model), torch.backends.cudnn.flags(enabled=False):  # cuDNN trains no RNN in eval mode
            for block in blocks:
                silence(block, *calls[block])


def silence(block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Zero one layer, or else two, so that the block passes its input through; late layers are tried first.

    Args:
        block: Changed in place. It may end with a ReLU of its input.
        given: Arguments of a call, the input first.
        named: Keyword arguments of that call.

    Returns:
        Whether there are such layers, which still get gradients.
    """
    x, *others = given

    def run() -> Tensor:
        output: Tensor = block(x.clone(), *others, **named)  # it may change its input in place
        return output

    layers = [m for m in layers_in_order(block, run) if any(p.requires_grad for p in m.parameters(recurse=False))]
    layers.reverse()
    for chosen in chain(combinations(layers, 1), combinations(layers, 2)):
        weights = [p for layer in chosen for p in layer.parameters(recurse=False)]
        saved = [p.detach().clone() for p in weights]
        torch._foreach_zero_([p.detach() for p in weights])
        if _passes(run(), x, chosen):
            return True
        torch._foreach_copy_([p.detach() for p in weights], saved)
    return False


def _passes(output: Tensor, x: Tensor, zeroed: Sequence[nn.Module]) -> bool:
    if not (torch.equal(output, x) or torch.equal(output, x.relu())):
        return False
    # Zeroing the first of two layers silences a branch as well, but then neither of them would ever learn.
    first = [next(p for p in layer.parameters(recurse=False) if p.requires_grad) for layer in zeroed]
    gradients = torch.autograd.grad((output * torch.randn_like(output)).sum(), first, allow_unused=True)
    return all(gradient is not None and bool(gradient.any()) for gradient in gradients)
