"""Memory layout and location of data: they change the speed, not the results."""

from __future__ import annotations

import torch

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.shared.tensors import map_images


@technique(
    "channels_last",
    family="system",
    category="basic modules",
    requires=("image", "convolutions"),
    # Before the optimizer allocates its state: fused kernels require it in the layout of the weights.
    order=57,
    paper="PyTorch: channels-last memory format",
)
class ChannelsLast(Technique):
    """Store images and weights in channels-last layout, which fast convolution kernels use."""

    def setup(self, context: Context) -> None:
        """Convert the weights to channels-last."""
        context.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Convert the images to channels-last."""
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
    """Keep the training data on the device if they fit, so that batches need no transfer.

    Args:
        share: Largest share of the device's free memory that the data may take.
    """

    share: float = parameter(0.3, 0.05, 0.6)

    def setup(self, context: Context) -> None:
        """Move the data to the device."""
        context.keep_data_on_device(self.share)
