"""Random image augmentation, computed on the device for a whole batch at once, without worker processes."""

from __future__ import annotations

from dataclasses import field

import torch
import torch.nn.functional as F
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value
from autoaccel.techniques.shared.tensors import map_images, random_boxes


@technique(
    "flip",
    family="data",
    category="data regularization",
    requires=("image", "flips", "whole_targets"),
    order=30,
    paper="arXiv 2404.00498",
)
class Flip(Technique):
    """Flip images left to right, each one every second time it is seen.

    A random half is flipped the first time. Alternating shows both sides equally often, which random flips do not.
    If several processes share the data, each process alternates for the samples that it sees.

    Args:
        alternate: Alternate; otherwise flip each image with probability 0.5.
    """

    alternate: bool = parameter(True, options=(True, False))
    mirrored: Tensor | None = field(init=False, default=None, repr=False)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Flip about half of the batch."""
        mask = self._turn(context, batch.index)[:, None, None, None]
        return batch.replace(inputs=map_images(lambda x: torch.where(mask, x.flip(-1), x), batch.inputs))

    def _turn(self, context: Context, index: Tensor) -> Tensor:
        """Return which of the samples at `index` are flipped this time."""
        if not self.alternate or not len(context.sample_loss):  # the samples of a stream have no index
            return torch.rand(index.shape, generator=context.generator, device=context.device) < 0.5
        if self.mirrored is None:
            drawn = torch.rand(context.sample_loss.shape, generator=context.shared)
            self.mirrored = (drawn < 0.5).to(context.device)
        now = self.mirrored[index]
        self.mirrored[index] = ~now
        return now


@technique(
    "crop",
    family="data",
    category="data regularization",
    requires=("image", "continuous", "whole_targets"),
    order=31,
    paper="arXiv 1512.03385",
)
class Crop(Technique):
    """Shift each image by a few pixels and fill the border by reflection.

    Args:
        shift: Largest shift as a share of the longer side.
    """

    shift: Number = parameter(0.06, 0.02, 0.15)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Shift every image by its own random offset."""
        return batch.replace(inputs=map_images(lambda x: self._shifted(context, x), batch.inputs))

    def _shifted(self, context: Context, x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        pad = round(value(self.shift, context.p) * max(height, width))
        if not 0 < pad < min(height, width):
            return x
        offsets = torch.randint(2 * pad + 1, (2, count, 1), generator=context.generator, device=x.device)
        rows = offsets[0] + torch.arange(height, device=x.device)
        columns = offsets[1] + torch.arange(width, device=x.device)
        padded = F.pad(x, (pad, pad, pad, pad), mode="reflect").permute(0, 2, 3, 1)
        indices = torch.arange(count, device=x.device)[:, None, None]
        return padded[indices, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@technique(
    "cutout",
    family="data",
    category="data regularization",
    requires=("image", "continuous"),
    order=32,
    paper="arXiv 1708.04552",
)
class Cutout(Technique):
    """Gray out a random box in each image.

    Args:
        side: Side of the box as a share of the image's side.
    """

    side: Number = parameter(0.25, 0.1, 0.5)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Set one box per image to the mean of the batch in each channel."""
        return batch.replace(inputs=map_images(lambda x: self._cut(context, x), batch.inputs))

    def _cut(self, context: Context, x: Tensor) -> Tensor:
        share = value(self.side, context.p)
        inside = random_boxes(x, torch.full((len(x),), share, device=x.device), context.generator)
        return torch.where(inside[:, None], x.mean((0, 2, 3), keepdim=True), x)
