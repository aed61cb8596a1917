"""Schedules: pure functions of progress p in [0, 1], the share of a trial's budget that is spent.

They do not depend on steps, epochs or seconds, so the same schedule fits a budget of two seconds or five days and
always reaches its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any


def linear(t: float) -> float:
    """Interpolate linearly from 0 to 1."""
    return t


def cosine(t: float) -> float:
    """Follow half a cosine wave from 0 to 1, flat at both ends."""
    return 0.5 * (1 - math.cos(math.pi * t))


def cubic(t: float) -> float:
    """Rise fast at first and flatten at the end: the sparsity ramp of Zhu & Gupta (arXiv 1710.01878)."""
    return 1 - (1 - t) ** 3


def step(t: float) -> float:
    """Return 0 before the end and 1 at the end."""
    return float(t >= 1)


SHAPES: Mapping[str, Callable[[float], float]] = {
    "linear": linear,
    "cosine": cosine,
    "cubic": cubic,
    "step": step,
}


@dataclass(frozen=True)
class Schedule:
    """A number that moves from `start` to `end` while p moves from `since` to `until`.

    Args:
        start: Value for p <= since.
        end: Value for p >= until.
        since: Progress at which it leaves `start`, in [0, 1].
        until: Progress at which it reaches `end`, in [since, 1].
        shape: One of `SHAPES`.

    Raises:
        ValueError: If the shape is unknown, a part is no finite number, or the interval is not inside [0, 1].
    """

    start: float
    end: float
    since: float = 0.0
    until: float = 1.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        for name in ("start", "end", "since", "until"):
            given: Any = getattr(self, name)
            is_number = isinstance(given, Real) and not isinstance(given, bool)
            if not (is_number and -math.inf < given < math.inf):
                raise ValueError(f"a schedule's {name} is a finite number, got {given!r:.40}")
        if not isinstance(self.shape, str) or self.shape not in SHAPES:
            raise ValueError(f"unknown schedule shape {self.shape!r}; one of {', '.join(SHAPES)}")
        if not 0 <= self.since <= self.until <= 1:
            raise ValueError(f"a schedule needs 0 <= since <= until <= 1, got {self.since} and {self.until}")

    def __call__(self, p: float) -> float:
        """Return the value at progress `p`."""
        if p < self.since:
            return self.start
        if p >= self.until:
            return self.end
        moved = SHAPES[self.shape]((p - self.since) / (self.until - self.since))
        return self.start + (self.end - self.start) * moved

    def to_data(self) -> dict[str, float | str]:
        """Return plain data for YAML and JSON; the keys `start` and `end` mark it as a schedule."""
        return asdict(self)


PARTS = tuple(part.name for part in fields(Schedule))
"""The keys of a schedule as plain data."""
Number = float | Schedule
"""A number or a schedule: accepted wherever a technique's parameter may be scheduled."""
Scalar = bool | int | float | str
Option = Scalar | None | tuple[Any, ...] | list[Any]
"""What a parameter may be set to: a scalar, None, or a sequence of options."""
Value = Option | Schedule
"""A parameter's value: an option or a schedule."""


def value(number: Number, p: float) -> float:
    """Return the value of a number or schedule at progress `p`."""
    return number(p) if isinstance(number, Schedule) else number


def is_schedule(data: object) -> bool:
    """Return whether plain data from YAML or JSON describes a schedule."""
    return isinstance(data, Mapping) and "start" in data and "end" in data


def half_life_decay(half_life: float, dp: float) -> float:
    """Return the decay of a moving average over a progress of `dp`, in [0, 1].

    It does not depend on the batch size or the number of steps.

    Args:
        half_life: Progress after which an old value has half its weight; > 0.
        dp: Progress since the last update, in [0, 1].

    Raises:
        ValueError: If `half_life` is not positive.
    """
    if half_life <= 0:
        raise ValueError(f"half_life must be positive, got {half_life}")
    return float(0.5 ** (dp / half_life))
