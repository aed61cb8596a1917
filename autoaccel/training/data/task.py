"""The user's task: model, data, loss and metric. A `Task` only stores what it was given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("image", "tokens", "table", "series")


@dataclass(frozen=True)
class Task:
    """What to train; a recipe decides how. `docs/data-and-losses.md` has an example of each form.

    Args:
        model: A factory that returns a `torch.nn.Module`. It is called after the seed is set, with the searched
            values of `space` as keyword arguments, and may return pretrained weights.
        train: `(x, y)` of tensors or arrays, a dataset, a stream, a `DataLoader`, or a function returning one.
            Inputs alone have no targets: the loss then gets the inputs as its second argument.
        valid: Validation data in the same form; split from `train` by default.
        test: Test data in the same form, scored once at the very end.
        loss: A name or function of `torch.nn.functional`, a loss module of `torch.nn`, `"model"` for the loss that
            the model itself returns when it is given the targets too, or a callable `(output, target)` that gets
            what the model returns, unchanged, and returns one loss a sample or a single number. By default the
            model's own loss if it computes one from `labels`, and inferred from the targets otherwise.
        metric: A scikit-learn scorer or metric name, a callable `(y_true, y_pred) -> float`, `"loss"` or
            `"perplexity"`; by default accuracy for one class a sample, and the loss otherwise.
        direction: `"max"` or `"min"`; inferred from the metric by default.
        class_weights: One weight per class, or `"balanced"`.
        space: The factory's own hyperparameters to search: `(low, high)`, a list of options, or
            `{"low": , "high": , "log": True}`.
        kind: image, tokens, table or series; inferred from the inputs by default.
        groups: One label per training sample; samples of one group stay on one side of the split.
        order: `"time"` if the samples are in order of time: validation then takes the last ones.
        collate: Makes a batch from a list of samples of a dataset; torch's default collate if not given.
        flips: Whether a mirrored image keeps its label, unlike digits and letters.
        metric_on: What a callable metric gets: `"prediction"` for predicted classes or values, or `"output"` for
            what the model returns.
        target_scaling: Whether to standardize real targets in training; by default where that can be undone in the
            weights of the last layer, so that the delivered model answers in the units of the targets.
        weights: One weight a training sample, shape [n], for the loss and for metrics that take weights; or a
            mapping with some of `train`, `valid` and `test`.
        valid_samples: Number of samples of a stream that are kept for validation.
        folds: Number of parts of the training data that take turns as validation data; 0 for a single split.

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
    metric_on: str = "prediction"
    target_scaling: bool | None = None
    weights: Any = None
    valid_samples: int | None = None
    folds: int = 0
    where: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Errors are often found long after this call and in another process, so keep its line for the message.
        frame = sys._getframe(2)
        object.__setattr__(self, "where", f"{frame.f_code.co_filename}:{frame.f_lineno}")
