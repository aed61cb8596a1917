"""Regularize by random image augmentation of many kinds, and by the rate of the model's own dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field
from functools import cache

import torch
from torch import Tensor

from autoaccel.core.schedules import Schedule
from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.modules import dropouts
from autoaccel.techniques.shared.tensors import map_images

PARTS = 4
"""Number of parts of a batch with an operation each; an operation per image would take a call per image."""
MEASURED = 512
"""Number of training samples whose smallest and largest values are taken as black and white."""
LEVEL = 0.05
"""A scheduled dropout rate moves in steps of this size, since a compiled model recompiles for each rate."""

Change = Callable[[Tensor, Tensor], Tensor]


@technique(
    "trivial_augment",
    family="data",
    category="data regularization",
    requires=("image", "continuous", "whole_targets"),
    order=31,
    package="kornia",
    extra="image",
    paper="arXiv 2103.10158",
)
class TrivialAugment(Technique):
    """Apply one random augmentation of random strength to each image.

    Images may have any number of channels and any range of values, which is measured on a few training samples.

    Args:
        strength: Largest strength; at 1, images are rotated by up to 30 degrees, shifted by up to 30 % of their
            side, brightened or darkened by up to 90 %, and so on.
    """

    strength: Number = parameter(0.6, 0.1, 1.0, most=math.inf)
    low: float = field(init=False, default=0.0, repr=False)
    high: float = field(init=False, default=1.0, repr=False)

    def setup(self, context: Context) -> None:
        """Measure the smallest and the largest pixel value."""
        images: list[Tensor] = []
        for inputs in context.training_batches(MEASURED):
            map_images(lambda x: images.append(x) or x, inputs)  # type: ignore[func-returns-value]
        self.low = min(float(x.min()) for x in images)
        self.high = max(float(x.max()) for x in images)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Apply one random operation to each part of the batch, with a random strength per image."""
        drawn = torch.randint(len(changes()), (PARTS,), generator=context.shared).tolist()
        amount = torch.rand(len(batch.index), generator=context.generator, device=context.device)
        amount = (2 * amount - 1) * value(self.strength, context.p)

        def changed(x: Tensor) -> Tensor:
            parts = zip(self._to_unit(x).chunk(PARTS), amount.to(x.dtype).chunk(PARTS), drawn, strict=False)
            return self._from_unit(torch.cat([changes()[which](part, by) for part, by, which in parts]))

        return batch.replace(inputs=map_images(changed, batch.inputs))

    def _to_unit(self, x: Tensor) -> Tensor:
        return ((x - self.low) / max(self.high - self.low, 1e-6)).clamp(0, 1)

    def _from_unit(self, x: Tensor) -> Tensor:
        return self.low + x * max(self.high - self.low, 1e-6)


@cache
def changes() -> tuple[Change, ...]:
    """Return the operations: functions of images and amounts that return the changed images.

    Images have shape [n, c, h, w] and values in [0, 1]; amounts have shape [n] and values in [-1, 1]. Amount 0
    changes nothing, except that posterizing rounds to 256 levels.
    """
    from kornia import enhance, geometry

    def across(amount: Tensor) -> Tensor:
        return torch.stack((amount, torch.zeros_like(amount)), 1)

    def along(amount: Tensor) -> Tensor:
        return torch.stack((torch.zeros_like(amount), amount), 1)

    return (
        lambda x, by: x,
        lambda x, by: geometry.rotate(x, 30 * by, padding_mode="border"),
        lambda x, by: geometry.shear(x, across(0.3 * by), padding_mode="border", align_corners=True),
        lambda x, by: geometry.shear(x, along(0.3 * by), padding_mode="border", align_corners=True),
        lambda x, by: geometry.translate(x, across(0.3 * x.shape[-1] * by), padding_mode="border"),
        lambda x, by: geometry.translate(x, along(0.3 * x.shape[-2] * by), padding_mode="border"),
        lambda x, by: torch.clamp(x * _factor(by), 0, 1),
        lambda x, by: _away_from(x.mean((1, 2, 3), keepdim=True), x, by),
        lambda x, by: _away_from(x.mean(1, keepdim=True), x, by),
        lambda x, by: enhance.sharpness(x, 1 + 0.9 * by),
        lambda x, by: enhance.posterize(x, (8 - 4 * by.abs()).round().int()),
        _solarized,
        lambda x, by: torch.lerp(x, _stretched(x), by.abs()[:, None, None, None]),
        lambda x, by: torch.lerp(x, enhance.equalize(x), by.abs()[:, None, None, None]),
    )


def _solarized(x: Tensor, amount: Tensor) -> Tensor:
    """Invert the values above a threshold, which falls from 1 to 0; kornia inverts those that equal it too."""
    return torch.where(x > 1 - amount.abs()[:, None, None, None], 1 - x, x)


def _factor(amount: Tensor) -> Tensor:
    return 1 + 0.9 * amount[:, None, None, None]


def _away_from(centre: Tensor, x: Tensor, amount: Tensor) -> Tensor:
    """Scale the distance from `centre`: the image's mean for contrast, each pixel's gray for saturation."""
    return torch.clamp(centre + (x - centre) * _factor(amount), 0, 1)


def _stretched(x: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return (x - low) / (high - low).clamp(min=1e-3)


@technique(
    "dropout",
    family="data",
    category="data regularization",
    requires=("dropout",),
    order=35,
    paper="JMLR 15 (2014), 1929-1958; arXiv 2303.01500",
)
class Dropout(Technique):
    """Set the rate of all dropout modules of the model to a number or a schedule.

    Functional dropout, as in most attention, is left unchanged.

    Args:
        rate: Probability that an element is zeroed.
    """

    rate: Number = parameter(0.1, 0.0, 0.5)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Set the rate for the current progress."""
        rate = value(self.rate, context.p)
        if isinstance(self.rate, Schedule):
            rate = round(round(rate / LEVEL) * LEVEL, 6)
        for module in dropouts(context.model):
            if module.p != rate:
                module.p = rate
        return batch
