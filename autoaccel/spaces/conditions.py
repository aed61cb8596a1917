"""Conditions between parameters: with `when: {layers: [2, 3]}` one is proposed only for these values of `layers`.

A condition names a parameter beside it: of the same technique, or of the user's own model.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from autoaccel.core.catalog import Domain
from autoaccel.core.schedules import Option
from autoaccel.core.values import frozen, read_option
from autoaccel.errors import suggestion

ParameterDomain = Domain | Option
ParameterDomains = Mapping[str, ParameterDomain]
WHEN = "when"


def take_condition(data: object) -> tuple[object, Mapping[str, object]]:
    """Split a parameter's data into what it may be and when there is one.

    Raises:
        ValueError: If the condition is not a mapping from parameters to values.
    """
    if not isinstance(data, Mapping) or WHEN not in data:
        return data, {}
    when = data[WHEN]
    if not isinstance(when, Mapping) or not when:
        raise ValueError(f"when = {when!r} must map another parameter to its value, or to a list of values")
    if "start" in data:
        raise ValueError("a schedule takes no `when`")
    return {key: given for key, given in data.items() if key != WHEN}, when


def conditional(
    path: str, domains: ParameterDomains, conditions: Mapping[str, Mapping[str, object]], faults: list[str]
) -> dict[str, ParameterDomain]:
    """Return the domains with their conditions, each after those that it depends on; append to `faults`.

    Args:
        path: Where the parameters stand, for messages.
        domains: All parameters that stand there.
        conditions: The data of conditions by the parameter that has them.
        faults: One line each.
    """
    found = dict(domains)
    for name, when in conditions.items():
        domain = domains.get(name)
        if not isinstance(domain, Domain):
            continue  # it has a fault of its own
        try:
            read = {key: _condition(key, given, domains) for key, given in when.items()}
            found[name] = replace(domain, when=read)
        except ValueError as error:
            faults.append(f"{path}.{name}: {error}")
    graph = {name: needs(domain) for name, domain in found.items()}
    try:
        return {name: found[name] for name in TopologicalSorter(graph).static_order()}
    except CycleError as error:
        faults.append(f"{path}: conditions go round in a circle: {' -> '.join(reversed(error.args[1]))}")
        return found


def needs(domain: ParameterDomain) -> Set[str]:
    """Return the parameters that decide whether this one exists."""
    return domain.when.keys() if isinstance(domain, Domain) else frozenset()


def holds(domain: ParameterDomain, values: Mapping[str, object]) -> bool:
    """Return whether there is a parameter, given those beside it; one that is absent meets no condition."""
    if not isinstance(domain, Domain):
        return True
    return all(name in values and wanted.contains(values[name]) for name, wanted in domain.when.items())


def _condition(name: str, data: object, domains: ParameterDomains) -> Domain:
    """Read the values of another parameter for which a condition holds."""
    if name not in domains:
        raise ValueError(f"when.{name}: no parameter beside it has this name{suggestion(name, domains)}")
    other = domains[name]
    if isinstance(data, Mapping) and set(data) == {"low", "high"}:
        return _range(name, data, other)
    many = data if isinstance(data, list) and not _occurs(other, data) else [data]
    values = [read_option(given) for given in many]
    for given in values:
        if not _occurs(other, given):
            raise ValueError(f"when.{name} = {given!r} never occurs: {name} is {_words(other)}")
    return Domain(options=tuple(values))


def _range(name: str, data: Mapping[str, object], other: ParameterDomain) -> Domain:
    low, high = data["low"], data["high"]
    if not isinstance(low, int | float) or not isinstance(high, int | float) or low > high:
        raise ValueError(f"when.{name}: a range needs numbers with low <= high, got {low!r} and {high!r}")
    wanted = Domain(low, high)
    options = other.options if isinstance(other, Domain) else (other,)
    meets = isinstance(other, Domain) and not options and other.low <= high and low <= other.high
    if not meets and not any(map(wanted.contains, options)):
        raise ValueError(f"when.{name} = {low!r} to {high!r} never occurs: {name} is {_words(other)}")
    return wanted


def _occurs(domain: ParameterDomain, value: object) -> bool:
    return domain.contains(value) if isinstance(domain, Domain) else bool(frozen(domain) == frozen(value))


def _words(domain: ParameterDomain) -> str:
    if not isinstance(domain, Domain):
        return f"always {domain!r}"
    if domain.options:
        return f"one of {', '.join(map(repr, domain.options))}"
    return f"{domain.low} to {domain.high}"
