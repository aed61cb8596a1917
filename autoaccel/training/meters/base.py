"""What a meter is.

A meter measures one additive quantity of a training. Its reading becomes an amount in every `Cost`, and the
quantity may be a limit of a `Budget`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn


class OverspentError(RuntimeError):
    """Raised when set-up and evaluation leave nothing of a trial's budget for a step."""


class Meter:
    """Measure one quantity. Only `read` must be overridden; the other methods tell what happens in between.

    Attributes:
        quantity: The name of the quantity in budgets and costs.
        shared: Whether all processes of a training read the same amount, such as that of a clock or of a counter of
            the whole machine. Otherwise each process measures its own share, and the shares are added up.
    """

    quantity: ClassVar[str]
    shared: ClassVar[bool] = False

    def read(self) -> float:
        """Return the amount spent since this meter was made. It never falls."""
        raise NotImplementedError

    def forward(self, model: nn.Module, inputs: Any, backward: bool) -> None:
        """Called before each forward; `backward` says whether its backward will follow."""

    def step(self, samples: int) -> None:
        """Called after each optimizer step: with all samples of the batch if `shared`, or those of this process."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it needs to go on counting in another process; empty if it is told what was read instead."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
