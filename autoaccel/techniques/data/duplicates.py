"""Samples that say what another one says already, found before training and without the model.

Every sample becomes a vector of about unit length in which near-duplicates are near; the similarity of two is
1 - |a - b|^2 / 2, their cosine where both have unit length. Of many samples only those of one cluster are compared,
so that the work grows with the 1.5th power of their number; a pair on the border of two clusters is missed.
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
"""Samples, shape [n, ...], to their vectors, shape [n, d]."""
SCALED_ON = 2048
"""Samples from which means and scales are taken."""
COMPARED_ALL = 4096
"""Largest number of samples of which all pairs are compared."""
CLUSTERED = 20_000
"""Samples from which clusters are found; all are then put into them."""
COMPARED = 512
"""Samples compared at once."""
THUMBNAIL = 8
"""Pixels of an image's side that are compared; fewer for small images."""
PROJECTED = 128
"""Dimensions to which longer vectors are projected."""
PAIR_BUCKETS = 251
"""Buckets for pairs of neighboring tokens."""


@technique(
    "deduplicate",
    family="data",
    category="data sampling",
    order=11,
    paper="arXiv 2303.09540",
)
class Deduplicate(Technique):
    """Leave out samples that are near-duplicates of others.

    Only inputs are compared, not targets. Images are compared as small pictures without their mean, which noise,
    brightness and a shift by a pixel hardly change; tokens by the pairs of neighbors that occur; tables and series
    by standardized values. Data without duplicates lose nothing, but for dense tables of few columns, where close
    neighbors are common.

    Args:
        threshold: Similarity from which a sample is a duplicate of an earlier one that is kept; 1 is equality.
    """

    threshold: float = parameter(0.98, 0.9, 0.999)
    kept: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)

    def setup(self, context: Context) -> None:
        """Find them."""
        kept = without_duplicates(embedded(context), self.threshold)
        # Ranks whose arithmetic differs in the last digit must still train on the same samples.
        self.kept = (summed_over_ranks(kept.to(context.device, torch.float32)) > 0).float()

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Skip them."""
        return weight * self.kept


def without_duplicates(x: Tensor, threshold: float) -> Tensor:
    """Whether each sample is kept, shape [n].

    Args:
        x: Vectors on the CPU, shape [n, d].
        threshold: Similarity from which a sample is a duplicate of an earlier one.
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
    """Whether each vector is kept: the first ones are, and whatever is not too similar to a kept one."""
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
    """The vector of each training sample, on the CPU, shape [n_train, d]."""
    probe = [torch.cat(parts) for parts in zip(*map(_compared, context.training_batches(SCALED_ON)), strict=True)]
    embedders = [_embedder(context.kind, part) for part in probe]
    rows = []
    for batch in context.one_epoch(size=1024):
        parts = zip(embedders, _compared(batch.inputs), strict=True)
        rows.append(torch.cat([embed(part) for embed, part in parts], 1).cpu())
    return torch.cat(rows) / math.sqrt(len(embedders))


def _compared(inputs: Any) -> list[Tensor]:
    """The tensors that make a sample what it is; masks that come with tokens say nothing of their own."""
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
    """Directions from what all samples have in common, so that the similarity of two random ones is about 0."""
    mean = F.normalize(features(probe)).mean(0)
    return lambda x: F.normalize(F.normalize(features(x)) - mean)


def thumbnails(images: Tensor) -> Tensor:
    """Small pictures without their mean: [n, c, h, w] to [n, d]."""
    height, width = (min(THUMBNAIL, max(1, side // 2)) for side in images.shape[2:])
    small = F.adaptive_avg_pool2d(images.float(), (height, width)).flatten(1)
    return small - small.mean(1, keepdim=True)


def token_pairs(tokens: Tensor) -> Tensor:
    """Square roots of how often hashed pairs of neighbors occur: [n, t] to [n, d]."""
    flat = tokens.flatten(1).long()
    pairs = (flat.roll(1, 1) * 7919 + flat * 104_729) % PAIR_BUCKETS  # primes spread neighbors over the buckets
    counts = torch.zeros(len(flat), PAIR_BUCKETS, device=flat.device)
    return counts.scatter_add_(1, pairs, torch.ones_like(pairs, dtype=counts.dtype)).sqrt()


def _standardized(probe: Tensor) -> Embedder:
    """Columns of mean 0 and deviation 1 over the root of their number; many columns are projected to fewer."""
    columns = probe.flatten(1).float() if probe.dim() > 1 else probe[:, None].float()
    mean, std = columns.mean(0), columns.std(0, correction=0)
    width = columns.shape[1]
    scale = torch.where(std > 0, std, 1.0) * math.sqrt(width)
    if width <= PROJECTED:
        return lambda x: (x.reshape(len(x), -1).float() - mean) / scale
    draw = torch.randn(width, PROJECTED, generator=torch.Generator().manual_seed(0)) / math.sqrt(PROJECTED)
    projection = draw.to(probe.device) / scale[:, None]
    return lambda x: (x.reshape(len(x), -1).float() - mean) @ projection
