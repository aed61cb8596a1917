"""The state of an optimizer whose parameters change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def keep_state(optimizer: torch.optim.Optimizer, known: Mapping[Tensor, Mapping[str, Any]]) -> None:
    """Give an optimizer the state of those of its parameters that have one, in the same shape.

    Args:
        optimizer: The optimizer, over the current parameters.
        known: The states of parameters until now.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter in known and _fits(known[parameter], parameter):
                optimizer.state[parameter] = dict(known[parameter])


def _fits(state: Mapping[str, Any], parameter: Tensor) -> bool:
    """Return whether a parameter's optimizer state has the parameter's shape; scalar counters are ignored."""
    shape = torch.view_as_real(parameter).shape if parameter.is_complex() else parameter.shape
    tensors = [part for part in state.values() if isinstance(part, Tensor) and part.dim()]
    return all(part.shape == shape for part in tensors)
