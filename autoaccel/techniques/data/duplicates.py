"""Find near-duplicate samples before training, without the model.

Each sample is embedded as a vector of about unit length, with near-duplicates close together. The similarity of two
samples is 1 - |a - b|^2 / 2, which is the cosine similarity if both have unit length. Large data sets are clustered
and only samples of the same cluster are compared, so that the cost grows with n^1.5; pairs that a cluster border
separates are missed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autoaccel.techniques.base import Context, Technique, parameter, technique
from autoaccel.techniques.shared.tensors import map_tensors, summed_over_ranks

Embedder = Callable[[Tensor], Tensor]
"""Map samples, shape [n, ...], to their vectors, shape [n, d]."""
SCALED_ON = 2048
"""Number of samples used to compute means and scales."""
COMPARED_ALL = 4096
"""Largest number of samples for which all pairs are compared."""
CLUSTERED = 20_000
"""Number of samples used to fit the clusters; all samples are then assigned to them."""
COMPARED = 512
"""Number of samples compared at once."""
THUMBNAIL = 8
"""Side of the compared thumbnails in pixels; less for small images."""
PROJECTED = 128
"""Number of dimensions to which longer vectors are projected."""
PAIR_BUCKETS = 251
"""Number of hash buckets for pairs of adjacent tokens."""


@technique(
    "deduplicate",
    family="data",
    category="data sampling",
    requires=("free_order",),
    order=11,
    paper="arXiv 2303.09540",
)
class Deduplicate(Technique):
    """Drop samples that are near-duplicates of others.

    Only inputs are compared, not targets. Images are compared as thumbnails with their mean subtracted, which
    noise, brightness or a shift by one pixel hardly change; token sequences by the counts of adjacent pairs; tables
    and series by standardized values. Data without duplicates lose nothing, except for dense tables with few
    columns, where close neighbors are common.

    Args:
        threshold: Similarity from which a sample is a duplicate of an earlier kept sample; 1 means equal.
    """

    threshold: float = parameter(0.98, 0.9, 0.999)
    kept: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)

    def setup(self, context: Context) -> None:
        """Find the near-duplicates among the training samples."""
        kept = without_duplicates(embedded(context), self.threshold)
        # All ranks must train on the same samples even if their arithmetic differs in the last digit.
        self.kept = (summed_over_ranks(kept.to(context.device, torch.float32)) > 0).float()

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Set the weight of near-duplicates to zero."""
        return weight * self.kept


def without_duplicates(x: Tensor, threshold: float) -> Tensor:
    """Return whether each sample is kept, shape [n].

    Args:
        x: Vectors on the CPU, shape [n, d].
        threshold: Similarity from which a sample is a duplicate of an earlier kept sample.
    """
    if len(x) <= COMPARED_ALL:
        return _distinct(x, threshold)
    kept = torch.ones(len(x), dtype=torch.bool)
    cluster = _clusters(x)
    order = cluster.argsort(stable=True)
    for members in order.split(torch.bincount(cluster).tolist()):
        kept[members] = _distinct(x[members], threshold)
    return kept


def _clusters(x: Tensor) -> Tensor:
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    count = round(math.sqrt(len(x)))
    drawn = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:CLUSTERED]
    means = MiniBatchKMeans(count, random_state=0, n_init=1, max_iter=5, batch_size=2048)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters
        means.fit(x[drawn].numpy())
    found: Tensor = torch.from_numpy(means.predict(x.numpy())).long()
    return found


def _distinct(x: Tensor, threshold: float) -> Tensor:
    """Return whether each vector is kept: it is unless it is too similar to an earlier kept one."""
    kept = torch.zeros(len(x), dtype=torch.bool)
    for start in range(0, len(x), COMPARED):
        block = x[start : start + COMPARED]
        fresh = torch.ones(len(block), dtype=torch.bool)
        if kept.any():
            fresh = ~_similar(block, x[kept], threshold).any(1)
        near = _similar(block, block, threshold).tril(-1)
        for i in (near.any(1) & fresh).nonzero().flatten().tolist():
            fresh[i] = not bool((near[i] & fresh).any())
        kept[start : start + COMPARED] = fresh
    return kept


def _similar(a: Tensor, b: Tensor, threshold: float) -> Tensor:
    near: Tensor = torch.cdist(a, b).square() <= 2 * (1 - threshold)
    return near


def embedded(context: Context) -> Tensor:
    """Return the vector of each training sample, on the CPU, shape [n_train, d]."""
    probe = [torch.cat(parts) for parts in zip(*map(_compared, context.training_batches(SCALED_ON)), strict=True)]
    embedders = [_embedder(context.kind, part) for part in probe]
    rows = []
    for batch in context.one_epoch(size=1024):
        parts = zip(embedders, _compared(batch.inputs), strict=True)
        rows.append(torch.cat([embed(part) for embed, part in parts], 1).cpu())
    return torch.cat(rows) / math.sqrt(len(embedders))


def _compared(inputs: Any) -> list[Tensor]:
    """Return the input tensors to compare; of tokenized inputs only `input_ids`, since masks add no information."""
    parts: list[Tensor] = []
    chosen = inputs["input_ids"] if isinstance(inputs, Mapping) and "input_ids" in inputs else inputs
    map_tensors(parts.append, chosen)
    return parts


def _embedder(kind: str, probe: Tensor) -> Embedder:
    if kind == "tokens" and not probe.is_floating_point():
        return _centered(token_pairs, probe)
    if probe.dim() == 4:
        return _centered(thumbnails, probe)
    return _standardized(probe)


def _centered(features: Embedder, probe: Tensor) -> Embedder:
    """Subtract the mean direction of all samples, so that two random samples have a similarity of about 0."""
    mean = F.normalize(features(probe)).mean(0)
    return lambda x: F.normalize(F.normalize(features(x)) - mean)


def thumbnails(images: Tensor) -> Tensor:
    """Return flattened thumbnails with their mean subtracted: [n, c, h, w] to [n, d]."""
    height, width = (min(THUMBNAIL, max(1, side // 2)) for side in images.shape[2:])
    small = F.adaptive_avg_pool2d(images.float(), (height, width)).flatten(1)
    return small - small.mean(1, keepdim=True)


def token_pairs(tokens: Tensor) -> Tensor:
    """Return the square roots of the counts of hashed pairs of adjacent tokens: [n, t] to [n, d]."""
    flat = tokens.flatten(1).long()
    pairs = (flat.roll(1, 1) * 7919 + flat * 104_729) % PAIR_BUCKETS  # primes spread the pairs over the buckets
    counts = torch.zeros(len(flat), PAIR_BUCKETS, device=flat.device)
    return counts.scatter_add_(1, pairs, torch.ones_like(pairs, dtype=counts.dtype)).sqrt()


def _standardized(probe: Tensor) -> Embedder:
    """Standardize columns and divide by the square root of their number; project many columns to fewer."""
    columns = probe.flatten(1).float() if probe.dim() > 1 else probe[:, None].float()
    mean, std = columns.mean(0), columns.std(0, correction=0)
    width = columns.shape[1]
    scale = torch.where(std > 0, std, 1.0) * math.sqrt(width)
    if width <= PROJECTED:
        return lambda x: (x.reshape(len(x), -1).float() - mean) / scale
    draw = torch.randn(width, PROJECTED, generator=torch.Generator().manual_seed(0)) / math.sqrt(PROJECTED)
    projection = draw.to(probe.device) / scale[:, None]
    return lambda x: (x.reshape(len(x), -1).float() - mean) @ projection
