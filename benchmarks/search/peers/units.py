"""Hyperparameters as points of the unit cube, and as a space of ConfigSpace. Choices share it in their order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ConfigSpace import Configuration, ConfigurationSpace, Float

from autoaccel.core.catalog import Domain
from benchmarks.search.problems import Problem, Values


def to_unit(problem: Problem, values: Values) -> list[float]:
    """Return the point of a recipe."""
    return [(_scaled(values[name], domain) - low) / (high - low) for name, domain, low, high in _ranges(problem)]


def from_unit(problem: Problem, point: Sequence[float]) -> Values:
    """Return the recipe at a point."""
    values = {}
    for (name, domain, low, high), at in zip(_ranges(problem), point, strict=True):
        scaled = low + (high - low) * float(at)
        if domain.options:
            values[name] = domain.options[min(int(scaled), len(domain.options) - 1)]
            continue
        value = min(max(math.exp(scaled) if domain.log else scaled, domain.low), domain.high)
        values[name] = round(value) if domain.integer else value
    return values


def unit_space(problem: Problem, seed: int) -> ConfigurationSpace:
    """Return the unit cube with the problem's default: of other ranges, ConfigSpace rounds the ends off."""
    space = ConfigurationSpace(seed=seed)
    for name, at in zip(problem.domains, to_unit(problem, problem.default), strict=True):
        space.add(Float(name, (0.0, 1.0), default=min(1.0, max(0.0, at))))
    return space


def configurations(problem: Problem, space: ConfigurationSpace) -> list[Configuration]:
    """Return the default and what else is known to be good as configurations of the unit cube."""
    points = [to_unit(problem, values) for values in (problem.default, *problem.known)]
    inside = [[min(1.0, max(0.0, at)) for at in point] for point in points]
    return [Configuration(space, values=dict(zip(problem.domains, point, strict=True))) for point in inside]


def from_configuration(problem: Problem, given: Mapping[str, float]) -> Values:
    """Return the recipe of a configuration of the unit cube."""
    return from_unit(problem, [given[name] for name in problem.domains])


def numbers(problem: Problem, given: Mapping[str, float]) -> Values:
    """Return a recipe in plain numbers, without what else a library adds."""
    return {name: (int if d.integer or d.options else float)(given[name]) for name, d in problem.domains.items()}


def _ranges(problem: Problem) -> list[tuple[str, Domain, float, float]]:
    return [
        (name, d, 0.0, len(d.options)) if d.options else (name, d, _scaled(d.low, d), _scaled(d.high, d))
        for name, d in problem.domains.items()
    ]


def _scaled(value: float, domain: Domain) -> float:
    if domain.options:
        return domain.options.index(value) + 0.5  # the middle of its part of the range
    return math.log(value) if domain.log else float(value)
