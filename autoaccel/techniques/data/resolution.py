"""Smaller inputs first: a step on half the side, or half the length, costs a fraction of a full one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.tensors import map_images, map_sequences

STAGES = 3
"""Sizes below the full one. Every size costs a compilation or a choice of kernels, so there are few."""


def staged(start: float, hold: float, until: float, p: float) -> float:
    """Share of the full size at progress `p`: `start` until `hold`, then in steps to 1 at `until`."""
    if p >= until:
        return 1.0
    t = max(0.0, p - hold) / (until - hold) if until > hold else 0.0
    return start + (1 - start) * int(t * STAGES) / STAGES


@technique(
    "progressive_resizing",
    family="data",
    cell="curriculum learning",
    needs=("image", "continuous", "any_size"),
    order=20,
    paper="arXiv 2104.00298; arXiv 2405.08768",
)
class ProgressiveResizing(Technique):
    """Train on small images first.

    Args:
        start: Side of the first images as a share of the full side.
        hold: Progress until which it stays there.
        until: Progress from which images are full.
        multiple: Sides are multiples of this many pixels.
        mode: Interpolate, take a random part, or keep the low frequencies.
    """

    start: float = parameter(0.6, 0.4, 0.9)
    hold: float = parameter(0.1, 0.0, 0.4)
    until: float = parameter(0.7, 0.5, 0.9)
    multiple: int = parameter(4, options=(1, 4, 8, 16, 32))
    mode: str = parameter("resize", options=("resize", "crop", "frequency"))

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Make the images as small as they are to be now."""
        scale = staged(self.start, self.hold, self.until, context.p)
        if scale >= 1:
            return batch
        return batch.replace(inputs=map_images(lambda x: self._smaller(context, x, scale), batch.inputs))

    def _smaller(self, context: Context, x: Tensor, scale: float) -> Tensor:
        height, width = (_rounded(length * scale, self.multiple, length) for length in x.shape[-2:])
        if self.mode == "crop":
            spare = (x.shape[-2] - height, x.shape[-1] - width)
            top, left = (int(torch.randint(s + 1, ())) for s in spare)
            return x[..., top : top + height, left : left + width]
        if self.mode == "frequency":
            return low_frequencies(x, height, width)
        smaller: Tensor = F.interpolate(x, (height, width), mode="bilinear", antialias=True)
        return smaller


def low_frequencies(x: Tensor, height: int, width: int) -> Tensor:
    """Images of [n, c, height, width] that hold the lowest frequencies of larger ones (arXiv 2211.09703)."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(x, norm="forward"), dim=(-2, -1))
    top, left = (x.shape[-2] // 2 - height // 2, x.shape[-1] // 2 - width // 2)
    cut = torch.fft.ifftshift(spectrum[..., top : top + height, left : left + width], dim=(-2, -1))
    smaller: Tensor = torch.fft.ifft2(cut, norm="forward").real
    return smaller


@technique(
    "sequence_warmup",
    family="data",
    cell="curriculum learning",
    needs=("any_length",),
    roles=("changes_shapes",),
    order=20,
    paper="arXiv 2108.06084",
)
class SequenceWarmup(Technique):
    """Train on short sequences first.

    Args:
        start: Length of the first sequences as a share of the full length.
        until: Progress from which sequences are full.
        multiple: Lengths are multiples of this many positions.
        mode: Leave the rest away, or make several short samples of a long one where every position has a target.
    """

    start: float = parameter(0.25, 0.1, 0.75)
    until: float = parameter(0.3, 0.1, 0.7)
    multiple: int = parameter(8, options=(1, 8, 16, 64))
    mode: str = parameter("segment", options=("truncate", "segment"))

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Shorten inputs, and targets where each position has one."""
        share = staged(self.start, 0.0, self.until, context.p)
        full = _length(batch)
        length = _rounded(full * share, self.multiple, full)
        if length >= full:
            return batch
        each_position = batch.targets.dim() > 1 and batch.targets.shape[1] == full
        parts = full // length if self.mode == "segment" and each_position else 1

        def cut(x: Tensor) -> Tensor:
            if x.shape[1] != full:
                return x
            return x[:, : parts * length].reshape(len(x) * parts, length, *x.shape[2:])

        return batch.replace(
            inputs=map_sequences(cut, batch.inputs),
            targets=cut(batch.targets) if each_position else batch.targets,
            index=batch.index.repeat_interleave(parts),
            weight=batch.weight.repeat_interleave(parts),
        )


def _length(batch: Batch) -> int:
    lengths: list[int] = []
    map_sequences(lambda x: lengths.append(x.shape[1]) or x, batch.inputs)  # type: ignore[func-returns-value]
    return max(lengths, default=1)


def _rounded(length: float, multiple: int, full: int) -> int:
    return min(full, max(multiple, round(length / multiple) * multiple))
