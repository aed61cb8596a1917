"""Score the samples of each batch by a forward pass without gradients, and train on the best part of them.

A forward pass is about a third of a step, so scoring all samples and training on a share k of them costs 1/3 + k of
a plain step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.shared.modules import as_written, evaluating
from autoaccel.techniques.shared.tensors import map_tensors, random_numbers_kept, summed_over_ranks


class BatchFilter(Technique):
    """Base of the filters: keeps the best-scored part of each batch while progress is in [since, until).

    The number of kept samples is fixed, not random: shapes, costs and compiled code stay the same, and all ranks
    keep equally many. Filtered batches shift the statistics of BatchNorm; full batches after `until` correct them.
    """

    keep: float
    since: float
    until: float

    def worth(self, context: Context, batch: Batch) -> Tensor:
        """Return the score of each sample, shape [n]; the highest are kept."""
        raise NotImplementedError

    def keeps(self) -> float:
        """Return `keep`."""
        return self.keep

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Keep the samples with the highest scores."""
        if not self.since <= context.p < self.until:
            return batch
        with torch.no_grad():
            worth = self.worth(context, batch)
        # BatchNorm cannot be trained on a single sample.
        count = min(len(worth), max(2, round(self.keep * len(worth))))
        return batch.part(worth.topk(count).indices)


def present_loss(context: Context, batch: Batch) -> Tensor:
    """Return the model's loss of each sample in eval mode: no dropout, and BatchNorm statistics stay unchanged."""
    indices = torch.arange(len(batch.weight), device=batch.weight.device)
    with evaluating(context.model), as_written(context.model):
        parts = [batch.part(part) for part in indices.split(context.micro_batch or len(indices))]
        return torch.cat([context.per_sample(context.forward(p.inputs), p.targets) for p in parts])


@technique(
    "selective_backprop",
    family="data",
    category="data sampling",
    requires=("sample_losses",),
    tags=("filters_batches",),
    conflicts=("filters_batches", "selects_by_loss"),
    # After resizing, so that scoring runs on small inputs too, and before augmentation and mixing, so that the loss
    # is that of the original sample.
    order=22,
    paper="arXiv 1910.00762",
)
class SelectiveBackprop(BatchFilter):
    """Train on the part of each batch with the highest loss; this favors wrong labels, too.

    The paper samples with a probability that grows with the loss; here the highest losses are taken.

    Args:
        keep: Share of a batch that is trained on; FLOPs are saved below 2/3.
        since: Progress at which filtering begins.
        until: Progress from which whole batches are trained on.
    """

    keep: float = parameter(0.5, 0.33, 0.9)
    since: float = parameter(0.3, 0.2, 0.6)
    until: float = parameter(0.9, 0.8, 1.0)

    def worth(self, context: Context, batch: Batch) -> Tensor:
        """Return the current loss of each sample."""
        return present_loss(context, batch)


@technique(
    "rho_loss",
    family="data",
    category="data sampling",
    requires=("reference", "sample_losses", "indexed"),
    tags=("filters_batches",),
    # The reference losses are those of whole samples, not of shortened ones.
    conflicts=("filters_batches", "selects_by_loss", "changes_shapes"),
    order=22,
    paper="arXiv 2206.07137; arXiv 2312.05328",
)
class RhoLoss(BatchFilter):
    """Train on samples whose loss is highest relative to that of the run's best finished model.

    Learned samples have a low loss in both models. Noisy samples have a high loss in both, unless the finished
    model, which was trained on the same data, has memorized them. Its losses are computed once, before the first
    step.

    Args:
        keep: Share of a batch that is trained on.
        since: Progress at which filtering begins.
        until: Progress from which whole batches are trained on.
    """

    keep: float = parameter(0.5, 0.1, 0.7)
    since: float = parameter(0.0, 0.0, 0.3)
    until: float = parameter(0.9, 0.8, 1.0)
    reference: Tensor = field(init=False, default_factory=lambda: torch.empty(0), repr=False)

    def setup(self, context: Context) -> None:
        """Compute the finished model's loss of each training sample."""
        finished = context.reference()
        with torch.no_grad():
            losses = [
                context.per_sample(context.forward(batch.inputs, model=finished), batch.targets)
                for batch in context.one_epoch()
            ]
        self.reference = torch.cat(losses)

    def worth(self, context: Context, batch: Batch) -> Tensor:
        """Return the reducible loss: the current loss minus that of the finished model."""
        return present_loss(context, batch) - self.reference[batch.index]


@technique(
    "proxy_learnability",
    family="data",
    category="data sampling",
    requires=("labels", "cross_entropy", "continuous", "sample_losses"),
    tags=("filters_batches",),
    conflicts=("filters_batches", "selects_by_loss"),
    order=22,
    paper="arXiv 2312.05328; arXiv 2206.07137",
)
class ProxyLearnability(BatchFilter):
    """Train on samples whose loss is highest relative to that of a small, briefly trained proxy net.

    The proxy is trained on the first batches of the run. It learns common patterns but not wrong labels, so
    mislabeled samples are rarely chosen. No finished model is needed.

    Args:
        keep: Share of a batch that is trained on.
        since: Progress at which the training of the proxy ends and filtering begins.
        until: Progress from which whole batches are trained on.
        width: Channels or units of the proxy.
        lr: Learning rate of the proxy.
    """

    keep: float = parameter(0.5, 0.1, 0.7)
    since: float = parameter(0.2, 0.1, 0.4)
    until: float = parameter(0.9, 0.8, 1.0)
    width: int = parameter(32, 8, 128, log=True, integer=True)
    lr: float = parameter(3e-3, 1e-3, 1e-2, log=True)
    proxy: nn.Module | None = field(init=False, default=None, repr=False)
    optimizer: torch.optim.Optimizer | None = field(init=False, default=None, repr=False)

    def setup(self, context: Context) -> None:
        """Build the proxy and its optimizer."""
        example = first_floating(next(context.training_batches(2)))
        seed = int(torch.randint(2**31, (), generator=context.shared))
        with random_numbers_kept(context.device):
            torch.manual_seed(seed)
            self.proxy = ProxyNet(example, self.width, context.classes).to(context.device)
        self.optimizer = torch.optim.AdamW(self.proxy.parameters(), lr=self.lr)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the proxy and of its optimizer."""
        assert self.proxy is not None and self.optimizer is not None
        return {"proxy": self.proxy.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them, after `setup`."""
        assert self.proxy is not None and self.optimizer is not None
        self.proxy.load_state_dict(state["proxy"])
        self.optimizer.load_state_dict(state["optimizer"])

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Train the proxy on the batch before `since`, and filter the batch after it."""
        if context.p < self.since:
            self._learn(context, batch)
        return super().batch(context, batch)

    def _learn(self, context: Context, batch: Batch) -> None:
        assert self.proxy is not None and self.optimizer is not None
        (self._losses(context, batch) * batch.weight).mean().backward()
        for trained in self.proxy.parameters():
            if trained.grad is not None:
                summed_over_ranks(trained.grad)  # AdamW is invariant to the scale of gradients
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _losses(self, context: Context, batch: Batch) -> Tensor:
        output = context.forward(first_floating(batch.inputs), model=self.proxy)
        return context.per_sample(output, batch.targets)

    def worth(self, context: Context, batch: Batch) -> Tensor:
        """Return the current loss minus that of the proxy."""
        assert self.proxy is not None
        with evaluating(self.proxy):
            learnable = self._losses(context, batch)
        return present_loss(context, batch) - learnable


class ProxyNet(nn.Module):
    """Two strided convolutions for images and series, one hidden layer for tables.

    Args:
        example: Batch of inputs whose number of dimensions and of channels, or features, is that of all inputs.
        width: Channels of the last convolution, or units of the hidden layer.
        classes: Number of outputs.
    """

    def __init__(self, example: Tensor, width: int, classes: int):
        super().__init__()
        head = nn.Linear(width, classes)
        if example.dim() == 2:
            features = example.shape[1]
            self.layers = nn.Sequential(
                nn.BatchNorm1d(features, affine=False), nn.Linear(features, width), nn.ReLU(), head
            )
            return
        channels, half = example.shape[1 if example.dim() == 4 else 2], max(1, width // 2)
        conv, norm, pool = PROXY_LAYERS[example.dim()]
        self.layers = nn.Sequential(
            norm(channels, affine=False),
            conv(channels, half, 3, stride=2, padding=1),
            nn.ReLU(),
            conv(half, width, 3, stride=2, padding=1),
            nn.ReLU(),
            pool(1),
            nn.Flatten(),
            head,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits for [n, c, h, w], [n, t, c] or [n, features]; large images are downsampled first."""
        if x.dim() == 3:
            x = x.transpose(1, 2)
        if x.dim() == 4 and max(x.shape[2:]) > PROXY_SIDE:
            x = F.adaptive_avg_pool2d(x, PROXY_SIDE)
        logits: Tensor = self.layers(x)
        return logits


PROXY_SIDE = 32
"""Side in pixels to which larger images are downsampled."""
PROXY_LAYERS: Mapping[int, tuple[Any, Any, Any]] = {
    3: (nn.Conv1d, nn.BatchNorm1d, nn.AdaptiveAvgPool1d),
    4: (nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d),
}
"""Convolution, normalization and pooling by the number of dimensions of the inputs."""


def first_floating(inputs: Any) -> Tensor:
    """Return the first floating-point tensor; one of shape [n] becomes [n, 1]."""
    found: list[Tensor] = []
    map_tensors(lambda t: found.append(t) if t.is_floating_point() else None, inputs)
    return found[0] if found[0].dim() > 1 else found[0][:, None]
