"""Where data lie and in which order: nothing of what is computed changes, only how fast."""

from __future__ import annotations

import torch

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.shared.tensors import map_images


@technique(
    "channels_last",
    family="system",
    category="basic modules",
    requires=("image", "convolutions"),
    # Before an optimizer makes memories of the weights: fused kernels want them in the same layout.
    order=57,
    paper="PyTorch: channels-last memory format",
)
class ChannelsLast(Technique):
    """Keep the channels of a pixel side by side, as the fast convolutions want them."""

    def setup(self, context: Context) -> None:
        """Lay out the weights."""
        context.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Lay out the images."""
        return batch.replace(
            inputs=map_images(lambda x: x.contiguous(memory_format=torch.channels_last), batch.inputs)
        )


@technique(
    "device_data",
    family="system",
    category="system-centric",
    order=74,
    paper="arXiv 2404.00498",
)
class DeviceData(Technique):
    """Hold the training data on the device when they fit: a batch is then an index, not a transfer.

    Args:
        share: Largest share of the device's free memory that they may take.
    """

    share: float = parameter(0.3, 0.05, 0.6)

    def setup(self, context: Context) -> None:
        """Move them once."""
        context.keep_data_on_device(self.share)
