"""What a model's output says: predicted classes, their probabilities, or values. The loss decides on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CLASSES, BINARY, LABELS, VALUES, OTHER = "classes", "binary", "labels", "values", "other"
LOGITS, LOG_PROBABILITIES, PROBABILITIES = "logits", "log-probabilities", "probabilities"


@dataclass(frozen=True)
class Readout:
    """How predictions are read from an output.

    Args:
        kind: `CLASSES` for one of several classes, `BINARY` for one of two with a single output, `LABELS` for any
            number of labels that each are 0 or 1, `VALUES` for real values, `OTHER` where only the user knows.
        classes: Number of classes or labels; 0 for values.
        axis: Dimension of the classes in the output.
        scale: What an output means: `LOGITS`, `LOG_PROBABILITIES` or `PROBABILITIES`.
        ignored: The label that does not count.
        columns: Number of values of a sample, where these are [n, columns]; 1 for other shapes.
    """

    kind: str
    classes: int = 0
    axis: int = 1
    scale: str = LOGITS
    ignored: int = -100
    columns: int = 1

    def predictions(self, output: Tensor) -> Tensor:
        """Return class numbers of the targets' shape, 0 or 1 for each label, or the values themselves."""
        if self.kind == CLASSES:
            return output.argmax(self.axis)
        if self.kind in (BINARY, LABELS):
            return (output > (0.5 if self.scale == PROBABILITIES else 0.0)).long()
        return output

    def probabilities(self, output: Tensor) -> Tensor:
        """Return the probability of each class on the last dimension; of class 1 where there are two outputs.

        Shapes are [..., classes] for classes, and that of the output for a single output and for labels.
        """
        if self.kind != CLASSES:
            return output if self.scale == PROBABILITIES else torch.sigmoid(output.double())
        if self.scale == PROBABILITIES:
            return output.movedim(self.axis, -1)
        # The softmax of log-probabilities are the probabilities.
        return torch.softmax(output.double(), self.axis).movedim(self.axis, -1)

    def counted(self, targets: Any) -> Tensor | None:
        """Return which targets count, shape of the targets; None if none may be ignored.

        It does not look whether all do: a GPU would be waited for.
        """
        if self.kind not in (CLASSES, BINARY) or not isinstance(targets, Tensor) or targets.is_floating_point():
            return None
        counted: Tensor = targets != self.ignored
        return counted


def of_values(targets: Tensor) -> Readout:
    """Return how real values are read, given some targets."""
    return Readout(VALUES, columns=targets.shape[1] if targets.dim() == 2 else 1)
