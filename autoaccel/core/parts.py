"""Parts that a user names, or brings along: executors, searches, samplers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

from autoaccel.errors import UsageError, suggestion

T = TypeVar("T")


def find_part(what: str, given: object, known: Mapping[str, T], accepted: str) -> T:
    """Return the factory that a user asked for.

    Args:
        what: The kind of part, for messages.
        given: A name in `known`, or a factory.
        known: Factories by name.
        accepted: What else is accepted beside a name, for messages.

    Raises:
        UsageError: If it is neither a known name nor callable.
    """
    if isinstance(given, str) and given in known:
        return known[given]
    if callable(given):
        return cast(T, given)
    names = f"{', '.join(known)}, or {accepted}"
    raise UsageError(f"{what} = {given!r}; accepted is {names}{suggestion(str(given), known)}")
