"""Mix pairs of samples and weight the losses of both targets accordingly."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.context import rows_of
from autoaccel.techniques.shared.tensors import map_images, map_tensors, random_boxes


class Mixing(Technique):
    """Base of the mixing techniques: draws the partner and the share of each sample."""

    alpha: Number
    chance: Number
    until: float

    def blend(self, context: Context, inputs: Any, partners: Tensor, share: Tensor) -> tuple[Any, Tensor]:
        """Return the inputs mixed with those of their partners, and the share of each own target, shape [n]."""
        raise NotImplementedError

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Mix a random part of the batch."""
        if context.p >= self.until:
            return batch
        count, device = len(batch.index), context.device
        alpha = torch.full((count,), value(self.alpha, context.p), device=device)
        share = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()
        drawn = torch.rand(count, generator=context.generator, device=device)
        share = torch.where(drawn < value(self.chance, context.p), share, 1.0)
        partners = torch.randperm(count, generator=context.generator, device=device)
        inputs, share = self.blend(context, batch.inputs, partners, share)
        return batch.replace(inputs=inputs, other=rows_of(batch.targets, partners, count), share=share)


@technique(
    "mixup",
    family="data",
    category="data regularization",
    requires=("continuous", "sample_losses"),
    tags=("mixes",),
    # The loss of a mixed sample says nothing about either of its two samples.
    conflicts=("mixes", "selects_by_loss"),
    order=40,
    paper="arXiv 1710.09412",
)
class MixUp(Mixing):
    """Train on weighted averages of two samples.

    Args:
        alpha: Both parameters of the Beta distribution of the weight.
        chance: Share of the samples that are mixed.
        until: Progress from which samples are left unchanged.
    """

    alpha: Number = parameter(0.2, 0.1, 1.0, most=math.inf)
    chance: Number = parameter(1.0, 0.3, 1.0)
    until: float = parameter(0.8, 0.5, 1.0)

    def blend(self, context: Context, inputs: Any, partners: Tensor, share: Tensor) -> tuple[Any, Tensor]:
        """Interpolate every floating-point tensor."""

        def mixed(x: Tensor) -> Tensor:
            weight = share.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)
            return torch.lerp(x[partners], x, weight)

        return map_tensors(lambda t: mixed(t) if t.is_floating_point() else t, inputs), share


@technique(
    "cutmix",
    family="data",
    category="data regularization",
    requires=("image", "classes", "whole_targets", "sample_losses"),
    tags=("mixes",),
    conflicts=("mixes", "selects_by_loss"),
    order=40,
    paper="arXiv 1905.04899",
)
class CutMix(Mixing):
    """Paste a box of another image into each image.

    Args:
        alpha: Both parameters of the Beta distribution of the kept area.
        chance: Share of the images that are changed.
        until: Progress from which images are left unchanged.
    """

    alpha: Number = parameter(1.0, 0.2, 1.0, most=math.inf)
    chance: Number = parameter(0.5, 0.3, 1.0)
    until: float = parameter(0.8, 0.5, 1.0)

    def blend(self, context: Context, inputs: Any, partners: Tensor, share: Tensor) -> tuple[Any, Tensor]:
        """Paste one box per sample, the same in all of its images; the share is the area that is kept."""
        images: list[Tensor] = []
        map_images(lambda x: images.append(x) or x, inputs)  # type: ignore[func-returns-value]
        box = random_boxes(images[0], (1 - share).sqrt(), context.generator)
        pasted = map_images(lambda x: torch.where(box[:, None], x[partners], x), inputs)
        return pasted, 1 - box.float().mean((1, 2))
