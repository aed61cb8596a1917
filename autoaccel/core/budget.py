"""Budgets: limits on one or more quantities, and the text forms that users write.

Training ends at the first limit that is reached. Progress is the largest share of any limit that is spent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from autoaccel.core.quantities import FLOPS, REPRODUCIBLE, SECONDS, Amounts, Cost, format_amount
from autoaccel.errors import UsageError

LONGEST = 10 * 365 * 86_400.0
"""Seconds; more is a slip, and clocks and timers of the system do not count much further."""
MOST = 1e30
"""Of any other quantity; the largest trainings to date took about 1e27 FLOPs."""


class Budget(Amounts):
    """Limits by quantity. Quantities that are not named have no limit.

    Args:
        limits: Limits by quantity name; None means no limit.
        named: Limits as keyword arguments: `Budget(seconds=3600, flops=2e18)`.

    Raises:
        UsageError: If a limit is not a number, or is zero, negative, not finite or beyond `LONGEST` or `MOST`.
    """

    __slots__ = ()

    def __init__(self, limits: Mapping[str, float | None] = MappingProxyType({}), /, **named: float | None):
        if isinstance(limits, str):
            raise UsageError(f"Budget({limits!r}): text is read by parse_budget; or give Budget(seconds=...)")
        given = {**limits, **named}
        super().__init__({name: _limit(name, limit) for name, limit in given.items() if limit is not None})

    def __eq__(self, other: object) -> bool:
        return not isinstance(other, Cost) and super().__eq__(other)

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __mul__(self, factor: float) -> Budget:
        return Budget({name: limit * factor for name, limit in self.items()})

    def plus(self, more: Budget) -> Budget:
        """Return the sum of two budgets.

        Raises:
            UsageError: If they do not limit the same quantities.
        """
        if self.keys() != more.keys():
            raise UsageError(f"{more} cannot be added to {self}: they do not limit the same")
        return Budget({name: limit + more[name] for name, limit in self.items()})

    def resolve(self, samples_per_epoch: int) -> Budget:
        """Return the same budget with its limit in epochs converted to samples."""
        if "epochs" not in self:
            return self
        samples = self["epochs"] * samples_per_epoch
        others = {name: limit for name, limit in self.items() if name != "epochs"}
        return Budget({**others, "samples": min(samples, self.get("samples", samples))})

    def less(self, cost: Cost) -> Budget | None:
        """Return what is left after `cost`, or None if a limit is used up. Call `resolve` first."""
        left = {name: limit - cost[name] for name, limit in self.items()}
        return Budget(left) if all(limit > 0 for limit in left.values()) else None

    def share(self, cost: Cost) -> float:
        """Return the largest share of any limit that `cost` uses, >= 0. Call `resolve` first."""
        return max((cost[name] / limit for name, limit in self.items()), default=0.0)

    @property
    def seconds(self) -> float | None:
        """The limit in seconds, if there is one."""
        return self.get(SECONDS)

    @property
    def deterministic(self) -> bool:
        """Whether no limit depends on the machine's speed."""
        return REPRODUCIBLE.issuperset(self)

    @property
    def size(self) -> float:
        """The first limit, for sorting and plotting trials whose budgets limit the same quantities."""
        return next(iter(self.values()), 0.0)

    def __str__(self) -> str:
        return " or ".join(format_amount(name, limit) for name, limit in self.items()) or "no limit"


_FLOPS = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([kKMGTPEZ]?)FLOPs?")
_PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21}
LONGEST_TEXT = 100
_ACCEPTED = "a duration such as 90s, 90m, 4h, 1d12h or PT4H, or operations such as '2e18 FLOPs' or '5 PFLOP'"


def parse_budget(text: str) -> Budget:
    """Parse `4h`, `90m`, `1d12h`, `PT4H`, `2e18 FLOPs`, `5 PFLOP`, or several joined by `or` or commas.

    Raises:
        UsageError: For a bare number, an amount that is zero, negative, infinite or absurd, other digits than ASCII
            ones, or anything else.
    """
    limits: dict[str, float] = {}
    for part in re.split(r"\s+or\s+|,", text.strip()):
        name, limit = _parse_part(part.strip())
        if name in limits:
            raise UsageError(f"budget {text!r:.50} sets {name} twice")
        limits[name] = limit
    return Budget(limits)


def _parse_part(text: str) -> tuple[str, float]:
    refusal = UsageError(f"budget {text!r:.50} is not understood; accepted is {_ACCEPTED}")
    if not text.isascii() or not text or len(text) > LONGEST_TEXT:
        raise refusal
    if re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", text, re.IGNORECASE):
        raise UsageError(f"budget {text!r:.50} needs a unit; accepted is {_ACCEPTED}")
    try:
        if match := _FLOPS.fullmatch(text):
            return FLOPS, _checked(FLOPS, float(match[1]) * _PREFIX[match[2]], repr(text))
        return SECONDS, _checked(SECONDS, _seconds(text), repr(text))
    except (ValueError, TypeError, OverflowError):
        raise refusal from None


def _seconds(text: str) -> float:
    # Imported here: the parsers take 0.1 s to import, and a worker, which gets numbers, never needs them.
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


def _limit(name: str, amount: object) -> float:
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise UsageError(f"a budget takes a number for {name}, got {amount!r}; parse_budget('4h') reads text")
    text = f"{amount:g}" if isinstance(amount, float) or abs(amount) < MOST else "a huge number of"
    return _checked(name, amount, f"{text} {name}")


def _checked(name: str, amount: float, shown: str) -> float:
    most = LONGEST if name == SECONDS else MOST
    if not 0 < amount < math.inf:
        raise UsageError(f"a budget must be positive and finite, got {shown}")
    if amount > most:
        raise UsageError(f"a budget is at most {format_amount(name, most)}, got {shown}")
    return amount


def parse_flops(text: str) -> float:
    """Parse the number of operations of `--flops`: `2e18`, or with a unit as in `5 PFLOP`.

    Raises:
        UsageError: If it is not a positive, finite number of operations.
    """
    text = text.strip()
    with_unit = text if text[-1:].lower() in ("p", "s") else f"{text} FLOPs"
    name, limit = _parse_part(with_unit)
    if name != FLOPS:
        raise UsageError(f"--flops takes a number of operations such as 2e18, got {text!r:.50}")
    return limit
