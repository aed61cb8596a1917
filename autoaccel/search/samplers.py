"""The samplers by name. To add one, add a module to this package and an entry here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType

from optuna.samplers import BaseSampler, RandomSampler

from autoaccel.errors import UsageError, suggestion
from autoaccel.search.base import Sampler
from autoaccel.search.mixed_sampler import MixedSampler
from autoaccel.search.optuna_sampler import OptunaSampler, tpe
from autoaccel.spaces.space import SearchSpace

DEFAULT = "mixed"
SAMPLERS: Mapping[str, Callable[[SearchSpace, int], Sampler]] = MappingProxyType(
    {
        DEFAULT: MixedSampler,
        "tpe": lambda space, seed: OptunaSampler(space, tpe(seed)),
        "random": lambda space, seed: OptunaSampler(space, RandomSampler(seed)),
    }
)


SamplerFactory = Callable[[SearchSpace, int], Sampler]
"""From the search space and a seed to a sampler."""


def find_sampler(given: object | None) -> SamplerFactory:
    """Return the factory of the sampler that a user asked for.

    Args:
        given: A name in `SAMPLERS`, an Optuna sampler, a function `(space, seed) -> Sampler`, or None.

    Raises:
        UsageError: If it is none of these.
    """
    if isinstance(given, BaseSampler):
        # A copy: the next run, or this one when it is resumed, has to begin where this one did.
        return lambda space, seed: OptunaSampler(space, copy.deepcopy(given))
    if given is None or isinstance(given, str):
        name = given or DEFAULT
        if name not in SAMPLERS:
            accepted = ", ".join(SAMPLERS)
            raise UsageError(f"sampler = {name!r} is not one of {accepted}{suggestion(name, SAMPLERS)}")
        return SAMPLERS[name]
    if callable(given):
        factory: SamplerFactory = given
        return factory
    accepted = "a name, an Optuna sampler, or a function (space, seed) -> Sampler"
    raise UsageError(f"sampler = {given!r} is not understood; accepted is {accepted}")
