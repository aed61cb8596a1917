"""The search algorithms by name. To add one, add a module to this package and an entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from autoaccel.errors import UsageError, suggestion
from autoaccel.search.base import Search, SearchSettings
from autoaccel.search.halving import HalvingSearch

DEFAULT = "halving"
SEARCHES: Mapping[str, Callable[[SearchSettings], Search]] = MappingProxyType({DEFAULT: HalvingSearch})


SearchFactory = Callable[[SearchSettings], Search]
"""From its settings to a search."""


def find_search(given: object | None) -> SearchFactory:
    """Return the factory of the search that a user asked for.

    Args:
        given: A name in `SEARCHES`, a function `SearchSettings -> Search`, or None for the default.

    Raises:
        UsageError: If it is none of these.
    """
    if callable(given):
        factory: SearchFactory = given
        return factory
    name = given or DEFAULT
    if not isinstance(name, str) or name not in SEARCHES:
        accepted = f"{', '.join(SEARCHES)}, or a function SearchSettings -> Search"
        raise UsageError(f"search = {name!r}; accepted is {accepted}{suggestion(str(name), SEARCHES)}")
    return SEARCHES[name]
