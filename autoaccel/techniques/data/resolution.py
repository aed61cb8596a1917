"""Train on smaller inputs first: a step at half the side or half the length costs a fraction of a full step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.shared.tensors import map_images, map_sequences

STAGES = 3
"""Number of sizes below the full one; few, since each size costs a compilation or a choice of kernels."""


def staged(start: float, hold: float, until: float, p: float) -> float:
    """Return the share of the full size at progress `p`: `start` until `hold`, then in steps to 1 at `until`."""
    if p >= until:
        return 1.0
    t = max(0.0, p - hold) / (until - hold) if until > hold else 0.0
    return start + (1 - start) * int(t * STAGES) / STAGES


@technique(
    "progressive_resizing",
    family="data",
    category="curriculum learning",
    requires=("image", "continuous", "any_size", "whole_targets"),
    order=20,
    paper="arXiv 2104.00298; arXiv 2405.08768",
)
class ProgressiveResizing(Technique):
    """Train on small images first.

    Args:
        start: Side of the first images as a share of the full side.
        hold: Progress until which the side stays at `start`.
        until: Progress from which images have full size.
        multiple: Sides are multiples of this many pixels.
        mode: `resize` interpolates, `crop` takes a random crop, `frequency` keeps the low frequencies.
    """

    start: float = parameter(0.6, 0.4, 0.9)
    hold: float = parameter(0.1, 0.0, 0.4)
    until: float = parameter(0.7, 0.5, 0.9)
    multiple: int = parameter(4, options=(1, 4, 8, 16, 32))
    mode: str = parameter("resize", options=("resize", "crop", "frequency"))

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Shrink the images to the size for the current progress."""
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
    """Return images, shape [n, c, height, width], with the lowest frequencies of larger ones (arXiv 2211.09703)."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(x, norm="forward"), dim=(-2, -1))
    top, left = (x.shape[-2] // 2 - height // 2, x.shape[-1] // 2 - width // 2)
    cut = torch.fft.ifftshift(spectrum[..., top : top + height, left : left + width], dim=(-2, -1))
    smaller: Tensor = torch.fft.ifft2(cut, norm="forward").real
    return smaller


@technique(
    "sequence_warmup",
    family="data",
    category="curriculum learning",
    requires=("any_length",),
    tags=("changes_shapes",),
    order=20,
    paper="arXiv 2108.06084",
)
class SequenceWarmup(Technique):
    """Train on short sequences first.

    If inputs have an `attention_mask`, positions that are padding in the whole batch are always removed.

    Args:
        start: Length of the first sequences as a share of the full length.
        until: Progress from which sequences have full length.
        multiple: Lengths are multiples of this many positions.
        mode: `truncate` drops the rest; `segment` splits long samples into several short ones if every position
            has a target and there is no `attention_mask`, and truncates otherwise.
    """

    start: float = parameter(0.25, 0.1, 0.75)
    until: float = parameter(0.3, 0.1, 0.7)
    multiple: int = parameter(8, options=(1, 8, 16, 64))
    mode: str = parameter("segment", options=("truncate", "segment"))

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Shorten the inputs, and the targets if each position has one."""
        full = length = _length(batch)
        mask = batch.inputs.get("attention_mask") if isinstance(batch.inputs, Mapping) else None
        at_end = False
        if mask is not None and mask.shape[1:] == (full,):
            length, at_end = _occupied(mask, self.multiple)
        share = staged(self.start, 0.0, self.until, context.p)
        if share < 1:
            length = _rounded(length * share, self.multiple, length)
        # A segment of a padded sample may consist of padding only.
        segments = self.mode == "segment" and mask is None and _each_position(batch)
        parts = full // length if segments else 1
        return _cut(batch, full - length, full) if at_end else _cut(batch, 0, parts * length, parts)


def _cut(batch: Batch, first: int, last: int, parts: int = 1) -> Batch:
    """Keep positions `first` to `last`, exclusive, and split each sample into `parts` samples."""
    full = _length(batch)
    if (first, last, parts) == (0, full, 1):
        return batch

    def cut(x: Tensor) -> Tensor:
        if x.shape[1] != full:
            return x
        return x[:, first:last].reshape(len(x) * parts, (last - first) // parts, *x.shape[2:])

    return batch.replace(
        inputs=map_sequences(cut, batch.inputs),
        targets=cut(batch.targets) if _each_position(batch) else batch.targets,
        index=batch.index.repeat_interleave(parts),
        weight=batch.weight.repeat_interleave(parts),
    )


def _each_position(batch: Batch) -> bool:
    return isinstance(batch.targets, Tensor) and batch.targets.shape[1:2] == (_length(batch),)


def _occupied(mask: Tensor, multiple: int) -> tuple[int, bool]:
    """Return the length of the part of the batch that is not all padding, and whether it is at the end.

    This synchronizes with the device, which costs less than computing on padding.

    Args:
        mask: 0 where a sample is padding, shape [n, t].
        multiple: The length is rounded up to a multiple of this, so that there are few distinct lengths.
    """
    counts = mask.sum(0).tolist()
    at_end = counts[0] < counts[-1]
    used = [place for place, count in enumerate(reversed(counts) if at_end else counts) if count]
    length = used[-1] + 1 if used else len(counts)
    return min(len(counts), -(-length // multiple) * multiple), at_end


def _length(batch: Batch) -> int:
    lengths: list[int] = []
    map_sequences(lambda x: lengths.append(x.shape[1]) or x, batch.inputs)  # type: ignore[func-returns-value]
    return max(lengths, default=1)


def _rounded(length: float, multiple: int, full: int) -> int:
    return min(full, max(multiple, round(length / multiple) * multiple))
