"""Choosers, which pick parameter values when a recipe is drawn from a search space."""

from __future__ import annotations

import random
from typing import Protocol

from autoaccel.core.catalog import Domain
from autoaccel.core.schedules import Option


class Chooser(Protocol):
    """Picks a value for each parameter of a draw, in a fixed order."""

    def choose(self, name: str, domain: Domain) -> Option:
        """Return a value in `domain` for the parameter `name`."""
        ...


class RandomChooser:
    """Draws each value independently, uniformly or log-uniformly.

    Args:
        seed: Seed of the random draws.
        on_share: Probability that an optional technique is on.
    """

    def __init__(self, seed: int, on_share: float):
        self._random = random.Random(seed)
        self._on_share = on_share

    def choose(self, name: str, domain: Domain) -> Option:
        """Return a random value in `domain`."""
        if is_switch(name):
            return self._random.random() < self._on_share
        return draw(domain, self._random)


def is_switch(name: str) -> bool:
    """Return whether a parameter turns an optional technique on or off."""
    return name.startswith("techniques.") and name.count(".") == 1


def draw(domain: Domain, source: random.Random) -> Option:
    """Draw a value uniformly, or log-uniformly if the domain is logarithmic."""
    if domain.options:
        option: Option = source.choice(domain.options)
        return option
    if domain.log:
        drawn = domain.low * float((domain.high / domain.low) ** source.random())
    else:
        drawn = domain.low + (domain.high - domain.low) * source.random()
    return min(int(domain.high), max(int(domain.low), round(drawn))) if domain.integer else drawn
