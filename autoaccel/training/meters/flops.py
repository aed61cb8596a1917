"""Measure the FLOPs of forward passes, the backward passes needed, and the optimizer's matrix products."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from autoaccel.core.quantities import FLOPS
from autoaccel.training.meters.base import Meter
from autoaccel.training.meters.count_flops import count_flops, counter, estimated_flops


class FlopsMeter(Meter):
    """Counts FLOPs once per input shape and adds them for every forward pass and step.

    Args:
        variants: Conditions besides shapes that the cost of a forward pass depends on; see `Context`.

    Attributes:
        estimated: Whether a pass could not be counted, so that its FLOPs are an estimate.
    """

    quantity: ClassVar[str] = FLOPS

    def __init__(self, variants: Mapping[str, Hashable]):
        self.estimated = False
        self._variants = variants
        self._spent = 0.0
        # A model that is only measured must not stay in the memory of a GPU for that.
        self._table: WeakKeyDictionary[nn.Module, dict[Any, float]] = WeakKeyDictionary()
        self._update_flops: list[float] = []
        self._updates = 0

    def read(self) -> float:
        """Return the FLOPs so far."""
        return self._spent

    def forward(self, model: nn.Module, inputs: Any, backward: bool) -> None:
        """Add a forward pass in the model's current mode, and its backward pass if `backward`."""
        self._spent += self.flops_of(model, inputs, backward)

    def flops_of(self, model: nn.Module, inputs: Any, backward: bool) -> float:
        """Return the FLOPs of a forward pass on inputs of this shape, with its backward pass if `backward`."""
        key = _shape(inputs), backward, model.training, tuple(self._variants.items())
        known = self._table.setdefault(model, {})
        if key not in known:
            # Restore the random state, so that the cache does not affect the training.
            with torch.random.fork_rng(devices=[]):
                known[key] = self._counted(model, inputs, backward)
        return known[key]

    def _counted(self, model: nn.Module, inputs: Any, backward: bool) -> float:
        try:
            return count_flops(model, inputs, backward)
        except Exception:  # a model that trains need not be one whose FLOPs can be counted
            self.estimated = True
            return estimated_flops(model, inputs, backward)

    def update(self, step: Callable[[], bool], period: int) -> bool:
        """Make an optimizer step and add its matrix products; return whether it was made.

        Args:
            step: Makes the step; returns whether it was made.
            period: Updates after which the matrix products repeat. The first update, which may do some set-up, and
                one period after it are counted.
        """
        position = self._updates if self._updates <= period else 1 + (self._updates - 1) % period
        if position < len(self._update_flops):
            made = step()
        else:
            with counter() as counted:
                made = step()
            if made:
                self._update_flops.append(float(counted.get_total_flops()))
        if made:
            self._spent += self._update_flops[position]
            self._updates += 1
        return made

    def state_dict(self) -> dict[str, Any]:
        """Return the FLOPs so far, and those of the updates; passes are counted anew."""
        return {"spent": self._spent, "update_flops": list(self._update_flops), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._spent, self._update_flops, self._updates = state["spent"], state["update_flops"], state["updates"]

    def forget(self) -> None:
        """Clear the counts, because the model or the set of trained parameters has changed."""
        self._table.clear()
        self._update_flops.clear()
        self._updates = 0


def _shape(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.shape
    if isinstance(inputs, Mapping):
        return tuple((key, _shape(part)) for key, part in inputs.items())
    return tuple(_shape(part) for part in inputs) if isinstance(inputs, tuple | list) else None
