"""Named, additive quantities that a training uses: seconds, FLOPs, steps, samples, and those that meters add.

Few other files list their names: costs, budgets, progress and plans loop over the quantities present.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

SECONDS = "seconds"
FLOPS = "flops"
COUNTS = frozenset({"steps", "samples", "epochs"})
"""Quantities that measure the length of a training, not its cost; evaluations and set-up use none of them."""
REPRODUCIBLE = frozenset({FLOPS, *COUNTS})
"""Quantities that do not depend on the machine. A run whose budget has no others is reproducible."""


class Amounts(Mapping[str, float]):
    """An immutable mapping from quantity names to amounts.

    Args:
        amounts: Amounts by quantity name.
        named: Amounts as keyword arguments.
    """

    __slots__ = ("_amounts",)

    def __init__(self, amounts: Mapping[str, float] = MappingProxyType({}), /, **named: float):
        self._amounts: dict[str, float] = {**amounts, **named}

    def __getitem__(self, name: str) -> float:
        return self._amounts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._amounts

    def __iter__(self) -> Iterator[str]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={amount!r}' for name, amount in self.items())})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Tell pydantic to read and write this value as a mapping of numbers."""
        from pydantic_core import core_schema  # only where a value is read or written

        numbers = core_schema.dict_schema(core_schema.str_schema(), core_schema.float_schema())
        written = core_schema.plain_serializer_function_ser_schema(dict, return_schema=numbers)
        return core_schema.no_info_after_validator_function(cls, numbers, serialization=written)


class Cost(Amounts):
    """Amounts spent, by quantity. Quantities that are not named are 0.

    A multiply-add counts as 2 FLOPs.
    """

    __slots__ = ()

    def __getitem__(self, name: str) -> float:
        return self._amounts.get(name, 0.0)

    def __add__(self, other: Cost) -> Cost:
        return Cost({name: self[name] + other[name] for name in {**self, **other}})

    def __sub__(self, other: Cost) -> Cost:
        return self + other * -1

    def __mul__(self, factor: float) -> Cost:
        return Cost({name: amount * factor for name, amount in self.items()})

    def __or__(self, other: Cost) -> Cost:
        """Return the larger amount of each quantity."""
        return Cost({name: max(self[name], other[name]) for name in {**self, **other}})

    def get(self, name: str, default: Any = None) -> Any:
        """Return an amount, or `default` if it is not named."""
        return self._amounts.get(name, default)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cost):
            return NotImplemented
        return all(self[name] == other[name] for name in {**self, **other})

    def __hash__(self) -> int:
        return hash(frozenset((name, amount) for name, amount in self.items() if amount))

    def replace(self, **amounts: float) -> Cost:
        """Return the same cost with some amounts replaced."""
        return Cost({**self, **amounts})

    def without(self, names: frozenset[str]) -> Cost:
        """Return the same cost without the quantities in `names`."""
        return Cost({name: amount for name, amount in self.items() if name not in names})

    @property
    def seconds(self) -> float:
        """Wall-clock seconds."""
        return self[SECONDS]

    @property
    def flops(self) -> float:
        """Floating-point operations."""
        return self[FLOPS]

    @property
    def steps(self) -> float:
        """Optimizer steps."""
        return self["steps"]

    @property
    def samples(self) -> float:
        """Training samples, repeated ones included."""
        return self["samples"]


def known(value: float | None) -> float | None:
    """Return a value, or None if it is NaN or infinite: an unknown value is None, and no file says NaN."""
    return value if value is not None and math.isfinite(value) else None


def format_seconds(seconds: float) -> str:
    """Format a duration: `8.4 s`, `1 min 30 s`, `3 h 12 min`, `2 d 4 h`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    rest, parts = round(seconds), []
    for unit, size in units:
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2])


def format_flops(flops: float) -> str:
    """Format operations as `3.2 GFLOPs`, with the prefix that leaves one to three digits before the point."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if abs(flops) < 1000:
            return f"{flops:.3g} {prefix}FLOPs"
        flops /= 1000
    return f"{flops:.3g} ZFLOPs"


FORMATS: Mapping[str, Callable[[float], str]] = MappingProxyType({SECONDS: format_seconds, FLOPS: format_flops})


def format_amount(name: str, amount: float) -> str:
    """Format one amount for display."""
    return FORMATS[name](amount) if name in FORMATS else f"{amount:g} {name}"
