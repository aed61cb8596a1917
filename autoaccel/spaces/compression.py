"""Techniques that make models smaller or faster: a search is offered them where a goal asks for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from autoaccel.core.goal import LATENCY, MEMORY, SIZE
from autoaccel.spaces.space import SearchSpace

DISTILLED = ("distillation", "token_distillation")
SMALLER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        LATENCY: ("structured_pruning", *DISTILLED),
        SIZE: ("structured_pruning", "quantization", *DISTILLED),
        MEMORY: ("structured_pruning", "quantization", *DISTILLED),
    }
)
"""What helps with each quantity, alone or with a smaller model of the user's: weights in int8 take less room, but
are computed with in floating point. Weights that are only set to zero take as much time and room as before."""


def compressing(space: SearchSpace, quantities: Iterable[str]) -> SearchSpace:
    """Return a space that also offers what helps with some quantities, with the ranges of the catalog."""
    names = dict.fromkeys(name for quantity in quantities for name in SMALLER.get(quantity, ()))
    added = {
        name: {each: parameter.domain for each, parameter in space.catalog[name].parameters.items()}
        for name in names
        if name in space.catalog and name not in space.techniques
    }
    return replace(space, techniques={**space.techniques, **added})
