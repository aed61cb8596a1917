"""Budgets and costs: what may be spent and what was spent.

A budget has up to five limits, whichever is reached first. Progress is the largest of the shares spent.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from typing import Any

from autoaccel.errors import UsageError


@dataclass(frozen=True)
class Cost:
    """What was spent: seconds, floating-point operations (a multiply-add counts 2), optimizer steps, samples."""

    seconds: float = 0.0
    flops: float = 0.0
    steps: float = 0.0
    samples: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.seconds + other.seconds,
            self.flops + other.flops,
            self.steps + other.steps,
            self.samples + other.samples,
        )

    def __sub__(self, other: Cost) -> Cost:
        return self + other * -1

    def __mul__(self, factor: float) -> Cost:
        return Cost(self.seconds * factor, self.flops * factor, self.steps * factor, self.samples * factor)


@dataclass(frozen=True)
class Budget:
    """What may be spent. `None` means no limit of that kind.

    Raises:
        UsageError: If a limit is zero, negative or not finite.
    """

    seconds: float | None = None
    flops: float | None = None
    steps: float | None = None
    samples: float | None = None
    epochs: float | None = None

    def __post_init__(self) -> None:
        for name, limit in self.limits().items():
            if not (math.isfinite(limit) and limit > 0):
                raise UsageError(f"a budget must be positive and finite, got {limit:g} {name}")

    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        return {f.name: limit for f in fields(self) if (limit := getattr(self, f.name)) is not None}

    def __mul__(self, factor: float) -> Budget:
        return Budget(**{name: limit * factor for name, limit in self.limits().items()})

    def resolve(self, samples_per_epoch: int) -> Budget:
        """The same budget with its epochs expressed in samples."""
        if self.epochs is None:
            return self
        samples = self.epochs * samples_per_epoch
        return replace(self, epochs=None, samples=samples if self.samples is None else min(samples, self.samples))

    def less(self, cost: Cost) -> Budget | None:
        """What is left after `cost`, or None when nothing is. Epochs must have been resolved."""
        left = {name: limit - getattr(cost, name) for name, limit in self.limits().items()}
        return Budget(**left) if all(limit > 0 for limit in left.values()) else None

    def share(self, cost: Cost) -> float:
        """The largest share of a limit that `cost` has used, >= 0. Epochs must have been resolved."""
        return max((getattr(cost, name) / limit for name, limit in self.limits().items()), default=0.0)

    @property
    def deterministic(self) -> bool:
        """Whether the machine's speed plays no part in this budget."""
        return self.seconds is None

    def __str__(self) -> str:
        return " or ".join(format_amount(name, limit) for name, limit in self.limits().items()) or "no limit"

    def to_data(self) -> dict[str, Any]:
        """The limits that are set, as plain data."""
        return {name: limit for name, limit in asdict(self).items() if limit is not None}


_FLOPS = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([kKMGTPEZ]?)FLOPs?")
_PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21}
_ACCEPTED = "a duration such as 90s, 90m, 4h, 1d12h or PT4H, or operations such as '2e18 FLOPs' or '5 PFLOP'"


def parse_budget(text: str) -> Budget:
    """Read `4h`, `90m`, `1d12h`, `PT4H`, `2e18 FLOPs`, `5 PFLOP`, or several joined by `or`.

    Raises:
        UsageError: For a bare number, zero, a negative or infinite amount, non-ASCII digits, or nonsense.
    """
    limits: dict[str, float] = {}
    for part in re.split(r"\s+or\s+|,", text.strip()):
        name, limit = _parse_part(part.strip())
        if name in limits:
            raise UsageError(f"budget {text!r} sets {name} twice")
        limits[name] = limit
    return Budget(**limits)


def _parse_part(text: str) -> tuple[str, float]:
    refusal = UsageError(f"budget {text!r} is not understood; accepted is {_ACCEPTED}")
    if not text.isascii() or not text:
        raise refusal
    if re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", text, re.IGNORECASE):
        raise UsageError(f"budget {text!r} needs a unit; accepted is {_ACCEPTED}")
    try:
        if match := _FLOPS.fullmatch(text):
            return "flops", _checked(text, float(match[1]) * _PREFIX[match[2]])
        return "seconds", _checked(text, _seconds(text))
    except (ValueError, TypeError, OverflowError):
        raise refusal from None


def _seconds(text: str) -> float:
    # Imported here: the two parsers take 0.1 s, and a worker that is given numbers never needs them.
    from pydantic import TypeAdapter
    from pytimeparse.timeparse import timeparse

    if text[0] in "pP":
        return TypeAdapter(timedelta).validate_python(text.upper()).total_seconds()
    if not text[0].isdigit():
        raise ValueError(text)
    seconds = timeparse(text)
    if seconds is None:
        raise ValueError(text)
    return float(seconds)


def _checked(text: str, amount: float) -> float:
    if not (math.isfinite(amount) and amount > 0):
        raise UsageError(f"a budget must be positive and finite, got {text!r}")
    return amount


def parse_flops(text: str) -> float:
    """A number of operations for `--flops`: `2e18`, or with a unit as in `5 PFLOP`.

    Raises:
        UsageError: If it is not a positive finite number of operations.
    """
    text = text.strip()
    with_unit = text if text[-1:].lower() in ("p", "s") else f"{text} FLOPs"
    name, limit = _parse_part(with_unit)
    if name != "flops":
        raise UsageError(f"--flops takes a number of operations such as 2e18, got {text!r}")
    return limit


def format_seconds(seconds: float) -> str:
    """`8.4 s`, `1 min 30 s`, `3 h 12 min`, `2 d 4 h`."""
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
    """`3.2 GFLOPs`, with the prefix that leaves one to three digits before the point."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if abs(flops) < 1000:
            return f"{flops:.3g} {prefix}FLOPs"
        flops /= 1000
    return f"{flops:.3g} ZFLOPs"


def format_amount(name: str, amount: float) -> str:
    """One limit or cost for people."""
    formats = {"seconds": format_seconds, "flops": format_flops}
    return formats[name](amount) if name in formats else f"{amount:g} {name}"
