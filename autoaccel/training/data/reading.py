"""Read a batch as the user's data has it: which part is the targets, how the model is called, in which dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import IGNORED, map_tensors
from autoaccel.training.data.opening import LABEL_KEYS
from autoaccel.training.data.sources import Source

LAST, NONE = "last", ""
"""Where targets are: the last part of a batch, or nowhere; otherwise the key of a mapping."""

NOT_COMPUTED = (torch.uint16, torch.uint32, torch.uint64)
"""Dtypes that torch stores, but hardly computes with."""


@dataclass(frozen=True)
class Reader:
    """Turns a batch into the model's inputs and the targets.

    A tuple of inputs holds the arguments of the model's forward, a dict its keywords; anything else is its only
    argument. Without targets, the inputs take their place.

    Args:
        targets: `LAST`, the key of the targets in a mapping, or `NONE`.
        fed: Name under which the model's forward gets the targets too, `LAST` for its last argument, or `NONE`.
        whole: Whether several inputs are one argument of the forward: a tuple or a dict.
        lists: Whether lists hold an element a sample, instead of the parts of a batch.
        floats: The model's dtype, to which floating-point inputs are cast; None casts none.
        cast: Whether inputs of integers are cast to it too, unscaled.
        classes: Whether targets are class numbers, which become int64.
        squeezed: A dimension of size 1 that targets have too many; 0 for none.
        tidied: Whether targets are for a loss that gets them as they are, except that integers become int64 and
            floats the model's dtype.
        names: The strings that class numbers stand for, if the data has labels as strings.
        shift: Whether position t of the model's output predicts the label at t + 1, as in causal language models.
    """

    targets: str = LAST
    fed: str = NONE
    whole: bool = False
    lists: bool = False
    floats: torch.dtype | None = None
    cast: bool = False
    classes: bool = False
    squeezed: int = 0
    tidied: bool = False
    names: tuple[str, ...] = ()
    shift: bool = False

    def __call__(self, batch: Any) -> tuple[Any, Any]:
        """Return the inputs and targets of a batch."""
        given, targets = self.divide(batch)
        inputs = map_tensors(self._inputs, given)
        if targets is None:
            return self._called(inputs), inputs
        targets = self.labels(targets)
        if self.fed:
            inputs = self._feed(inputs, targets)
        return self._called(inputs), _shifted(targets) if self.shift else targets

    def divide(self, batch: Any) -> tuple[Any, Any]:
        """Return the inputs and the targets of a batch before they are cast; no targets are None.

        Raises:
            TaskError: If the batch has another form than this reader is for.
        """
        if self.targets == NONE:
            only = batch[0] if isinstance(batch, list | tuple) and len(batch) == 1 and not self.lists else batch
            return self._tidy(only), None
        if self.targets != LAST:
            return self._tidy({k: v for k, v in batch.items() if k != self.targets}), self._tidy(
                batch[self.targets]
            )
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise TaskError(f"a batch must be (inputs, targets), got {type(batch).__name__}")
        inputs = batch[0] if len(batch) == 2 else tuple(batch[:-1])
        return self._tidy(inputs), self._tidy(batch[-1])

    def _tidy(self, data: Any) -> Any:
        """Make tuples of lists that are the parts of a batch, which torch's default collate makes of tuples."""
        if isinstance(data, Mapping):
            return {key: self._tidy(part) for key, part in data.items()}
        if isinstance(data, list) and (self.lists or all(isinstance(part, str) for part in data)):
            return data
        return tuple(self._tidy(part) for part in data) if isinstance(data, tuple | list) else data

    def _inputs(self, t: Tensor) -> Tensor:
        if self.floats is None or not (t.is_floating_point() or (self.cast and not t.is_complex())):
            return t
        return t.to(self.floats)

    def labels(self, targets: Any) -> Any:
        """Return targets in the form that the loss takes."""
        if self.tidied:
            return map_tensors(self._tidy_target, targets)
        if self.names and not isinstance(targets, Tensor):
            number = {name: i for i, name in enumerate(self.names)}
            if unknown := sorted(set(targets) - set(number)):
                raise TaskError(f"the label {unknown[0]!r} is not among those of the samples that were looked at")
            return torch.tensor([number[name] for name in targets])
        if not isinstance(targets, Tensor):
            return targets
        if targets.dtype in NOT_COMPUTED:
            targets = targets.long()
        if self.squeezed:
            targets = targets.squeeze(self.squeezed)
        return targets.long() if self.classes else targets

    def _tidy_target(self, t: Tensor) -> Tensor:
        if t.is_floating_point():
            return t if self.floats is None else t.to(self.floats)
        return t if t.is_complex() or t.dtype == torch.bool else t.long()

    def _feed(self, inputs: Any, targets: Any) -> Any:
        if self.fed != LAST:
            return {**inputs, self.fed: targets}
        return (*inputs, targets) if isinstance(inputs, tuple) else (inputs, targets)

    def _called(self, inputs: Any) -> Any:
        return (inputs,) if self.whole else inputs


def _shifted(labels: Tensor) -> Tensor:
    """Move labels to the position that predicts them; the last position predicts nothing that is known."""
    return torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], IGNORED)], 1)


@dataclass(frozen=True)
class ReadSource:
    """Samples as inputs and targets."""

    source: Source
    reader: Reader

    def __len__(self) -> int:
        return len(self.source)

    def take(self, index: Tensor) -> tuple[Any, Any]:
        """Return the inputs and targets of the samples at `index`, batch dimension first."""
        return self.reader(self.source.take(index))

    def to(self, device: torch.device) -> ReadSource:
        """Return the same samples with their data on `device`, if they can be moved."""
        return ReadSource(self.source.to(device), self.reader)


def label_key(batch: Mapping[str, Any]) -> str:
    """Return the key of the targets in a mapping, or `NONE`."""
    return next((key for key in LABEL_KEYS if key in batch), NONE)
