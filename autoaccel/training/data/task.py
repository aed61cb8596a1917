"""What the user brings: model, data, loss and metric. A `Task` only stores what it was given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("image", "tokens", "table", "series")


@dataclass(frozen=True)
class Task:
    """What to train, never how.

    Args:
        model: A factory that returns a `torch.nn.Module`. It is called after the seed is set, with the searched
            values of `space` as keyword arguments, and may return pretrained weights.
        train: `(x, y)` of tensors or arrays, a map-style dataset, a `DataLoader`, or a function returning one.
        valid: The same for validation; split from `train` when missing.
        test: The same; scored once, at the very end.
        loss: A name in `torch.nn.functional`, or a callable `(output, target) -> one loss a sample`; inferred
            from the targets when missing.
        metric: A scikit-learn scorer or metric name, a callable `(y_true, y_pred) -> float`, `"loss"` or
            `"perplexity"`; accuracy for classes and the loss otherwise when missing.
        direction: `"max"` or `"min"`; inferred from the metric when missing.
        class_weights: One weight a class, or `"balanced"`.
        space: The factory's own hyperparameters to search: `(low, high)`, a list of options, or
            `{"low": , "high": , "log": True}`.
        kind: image, tokens, table or series; inferred from the inputs when missing.
        groups: One label a training sample; samples of one group stay on one side of the split.
        order: `"time"` when the samples are in order of time: validation then takes the last ones.
        collate: Makes a batch from a list of samples of a dataset; torch's default when missing.
        flips: Whether a mirrored image keeps its label (not so for digits and letters).

    Attributes:
        where: `file:line` of the call, for messages.
    """

    model: Callable[..., Any]
    train: Any
    valid: Any = None
    test: Any = None
    loss: str | Callable[..., Any] | None = None
    metric: str | Callable[..., Any] | None = None
    direction: str | None = None
    class_weights: Any = None
    space: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None
    groups: Any = None
    order: str | None = None
    collate: Callable[..., Any] | None = None
    flips: bool = False
    where: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Faults are often found long after this call, and in another process: keep the line to look at.
        frame = sys._getframe(2)
        object.__setattr__(self, "where", f"{frame.f_code.co_filename}:{frame.f_lineno}")
