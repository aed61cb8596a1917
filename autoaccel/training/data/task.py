"""The user's task: model, data, loss and metric. A `Task` only stores what it was given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("image", "tokens", "table", "series")


@dataclass(frozen=True)
class Task:
    """What to train; a recipe decides how.

    Args:
        model: A factory that returns a `torch.nn.Module`. It is called after the seed is set, with the searched
            values of `space` as keyword arguments, and may return pretrained weights.
        train: `(x, y)` of tensors or arrays, a map-style dataset, a `DataLoader`, or a function returning one.
        valid: Validation data in the same form; split from `train` by default.
        test: Test data in the same form, scored once at the very end.
        loss: A name in `torch.nn.functional`, or a callable `(output, target) -> losses` that returns one loss per
            sample; inferred from the targets by default.
        metric: A scikit-learn scorer or metric name, a callable `(y_true, y_pred) -> float`, `"loss"` or
            `"perplexity"`; by default accuracy for classes and the loss otherwise.
        direction: `"max"` or `"min"`; inferred from the metric by default.
        class_weights: One weight per class, or `"balanced"`.
        space: The factory's own hyperparameters to search: `(low, high)`, a list of options, or
            `{"low": , "high": , "log": True}`.
        kind: image, tokens, table or series; inferred from the inputs by default.
        groups: One label per training sample; samples of one group stay on one side of the split.
        order: `"time"` if the samples are in order of time: validation then takes the last ones.
        collate: Makes a batch from a list of samples of a dataset; torch's default collate if not given.
        flips: Whether a mirrored image keeps its label, unlike digits and letters.

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
        # Errors are often found long after this call and in another process, so keep its line for the message.
        frame = sys._getframe(2)
        object.__setattr__(self, "where", f"{frame.f_code.co_filename}:{frame.f_lineno}")
