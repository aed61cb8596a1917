"""The search algorithms by name. To add one, add a module to this package and an entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from autoaccel.core.parts import find_part
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
    return find_part("search", given or DEFAULT, SEARCHES, "a function SearchSettings -> Search")
