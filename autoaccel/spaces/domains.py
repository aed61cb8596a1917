"""Read a search space from plain data: domains, components, techniques and portfolio. Collect all faults.

In YAML, a scalar fixes a parameter, a list gives its options, `{low: , high: , log: }` a range, and `auto` the
range that the technique declares. `{options: , when: }` and `{low: , high: , when: }` have a condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from autoaccel.core.catalog import Catalog, Domain, TechniqueInfo, check, misplaced, parameter_faults
from autoaccel.core.recipe import COMPONENTS, Recipe
from autoaccel.core.schedules import PARTS, Option
from autoaccel.core.values import plain_value, read_option
from autoaccel.core.yaml_file import READABLE, SCHEMA
from autoaccel.errors import TaskError, UsageError, suggestion
from autoaccel.spaces.conditions import ParameterDomain, ParameterDomains, conditional, take_condition

KEYS = ("schema", "name", "description", "extends", *COMPONENTS, "techniques", "portfolio")
_RANGE_KEYS = {"low", "high", "log", "integer"}


def read_domain(data: object) -> ParameterDomain:
    """Read a domain from YAML or `Task(space=...)`: a fixed value, list of options, (low, high) or mapping.

    Raises:
        ValueError: If it is none of these, or an empty range.
    """
    if isinstance(data, tuple) and len(data) == 2:
        whole = all(isinstance(end, int) for end in data)
        return _range({"low": data[0], "high": data[1], "integer": whole})
    if isinstance(data, Mapping) and {"low", "high"} <= set(data) <= _RANGE_KEYS:
        return _range(data)
    options = data["options"] if isinstance(data, Mapping) and set(data) == {"options"} else data
    if isinstance(options, list) and options:
        return Domain(options=tuple(map(_option, options)))
    if isinstance(data, list | tuple):
        raise ValueError(f"{data!r} is no value, list of options, or range (low, high)")
    return _option(data)


def _option(data: object) -> Option:
    try:
        return read_option(data)
    except ValueError:
        accepted = "a value, list of options, or range {low: , high: , log: }"
        also = "; give names, which the factory looks up" if callable(data) else ""
        raise ValueError(f"{data!r} is not {accepted}{also}") from None


def _range(data: Mapping[str, Any]) -> Domain:
    low, high = data["low"], data["high"]
    if Domain().fault(low) or Domain().fault(high) or not low < high:
        raise ValueError(f"a range needs finite numbers with low < high, got {low!r:.40} and {high!r:.40}")
    for switch in ("log", "integer"):
        if not isinstance(given := data.get(switch, False), bool):
            raise ValueError(f"{switch} = {given!r:.40} must be true or false")
    if data.get("integer") and not low == int(low) != int(high) == high:
        raise ValueError(f"a range of integers needs whole numbers, got {low!r} and {high!r}")
    if data.get("log") and low <= 0:
        raise ValueError(f"a range with log needs low > 0, got {low!r}")
    return Domain(low, high, bool(data.get("log")), bool(data.get("integer")))


def extended(data: object, read: Callable[[str], object], source: str, depth: int = 0) -> dict[str, Any]:
    """Return a space's data, merged with the data of the space that it extends.

    Raises:
        UsageError: If the data are not a mapping, have an unsupported schema, or extend themselves.
    """
    if not isinstance(data, Mapping):
        raise UsageError(f"{source}: a search space is a mapping with {', '.join(KEYS)}")
    data = _current(data, source)
    if "extends" not in data:
        return dict(data)
    if depth > 8:
        raise UsageError(f"{source}: `extends` goes round in a circle")
    base = extended(read(str(data["extends"])), read, str(data["extends"]), depth + 1)
    own = {key: part for key, part in data.items() if key != "extends"}
    for key in (*COMPONENTS, "techniques"):
        if isinstance(own.get(key), Mapping) and isinstance(base.get(key), Mapping):
            own[key] = _merged(base[key], own[key], replace_others=key in COMPONENTS)
    return {**base, **own}


def _current(data: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """Convert the data to the current schema: schema 1 called the portfolio `known_good`."""
    schema = data.get("schema")
    if schema not in (None, *READABLE):
        accepted = " and ".join(map(str, READABLE))
        raise UsageError(f"{source}: schema = {schema!r}: this version reads schema {accepted}")
    if schema == SCHEMA or "known_good" not in data:
        return data
    return {"portfolio" if key == "known_good" else key: part for key, part in data.items()}


def _merged(base: Mapping[str, Any], own: Mapping[str, Any], replace_others: bool) -> dict[str, Any]:
    """Merge named domains: a component keeps only the names in `own`; optional techniques keep both."""
    merged: dict[str, Any] = {} if replace_others else dict(base)
    for name, domains in own.items():
        inherited = base.get(name)
        if isinstance(domains, Mapping) and isinstance(inherited, Mapping):
            merged[name] = {**inherited, **domains}
        else:
            merged[name] = inherited if domains is None else domains
    return merged


def read_component(
    component: str, data: object, catalog: Catalog, faults: list[str]
) -> dict[str, ParameterDomains]:
    """Read the techniques offered for a component, each with its domains; append to `faults`."""
    if not isinstance(data, Mapping) or not data:
        faults.append(f"{component}: must offer at least one technique")
        return {}
    offered: dict[str, ParameterDomains] = {}
    accepted = [name for name, info in catalog.items() if info.component == component]
    for name, domains in data.items():
        if name not in accepted:
            faults.append(f"{component}.{name}: unknown; one of {', '.join(accepted)}{suggestion(name, accepted)}")
        else:
            offered[name] = _read_domains(f"{component}.{name}", domains, catalog[name], faults)
    return offered


def read_techniques(
    data: object, catalog: Catalog, faults: list[str]
) -> tuple[dict[str, ParameterDomains], frozenset[str]]:
    """Read the optional techniques with their domains, and which are always on; append to `faults`."""
    if not isinstance(data, Mapping):
        faults.append("techniques: must be a mapping from names to parameters")
        return {}, frozenset()
    offered: dict[str, ParameterDomains] = {}
    required = set()
    accepted = [name for name, info in catalog.items() if not info.component]
    for name, domains in data.items():
        if name not in accepted:
            faults.append(f"techniques.{name}: unknown technique{suggestion(str(name), accepted)}")
            continue
        if domains is False:
            continue
        if domains is True or (isinstance(domains, Mapping) and domains.get("required")):
            required.add(str(name))
        own = {k: v for k, v in domains.items() if k != "required"} if isinstance(domains, Mapping) else {}
        if not isinstance(domains, Mapping | bool | None):
            faults.append(f"techniques.{name} = {domains!r} must be true, false or its parameters")
        offered[str(name)] = _read_domains(f"techniques.{name}", own, catalog[name], faults)
    return offered, frozenset(required)


def _read_domains(path: str, data: object, info: TechniqueInfo, faults: list[str]) -> ParameterDomains:
    domains: dict[str, ParameterDomain] = {}
    conditions: dict[str, Mapping[str, object]] = {}
    if not isinstance(data, Mapping | None):
        faults.append(f"{path} = {data!r} must be a mapping from parameters to values")
        return domains
    for key, given in (data or {}).items():
        if key not in info.parameters:
            faults.append(f"{path}.{key}: unknown parameter{suggestion(str(key), info.parameters)}")
            continue
        try:
            given, conditions[key] = take_condition(given)
            if given == "auto" or (given == {} and conditions[key]):
                domains[key] = info.parameters[key].domain
            elif isinstance(given, Mapping) and "start" in given:
                domains.update(_read_schedule(str(key), given, info))
            else:
                domains[key] = read_domain(given)
        except ValueError as error:
            faults.append(f"{path}.{key}: {error}")
            continue
        ends = _ends(domains[key]) if key in domains else []
        faults += [fault for end in ends for fault in parameter_faults(info, {key: end})]
    return conditional(path, domains, conditions, faults)


def _read_schedule(key: str, given: Mapping[str, Any], info: TechniqueInfo) -> ParameterDomains:
    """Read the domains of a schedule's parts.

    Raises:
        ValueError: If the parameter takes no schedule, or a part is missing, unknown or out of range.
    """
    if not info.parameters[key].scheduled:
        raise ValueError("takes a fixed value, not a schedule")
    if "end" not in given or not set(PARTS).issuperset(given):
        raise ValueError(f"a schedule has start, end and any of since, until and shape, got {', '.join(given)}")
    domains = {part: read_domain(domain) for part, domain in given.items()}
    for part in ("start", "end"):
        for value in _ends(domains[part]):
            if fault := info.parameters[key].fault(value, end=True):
                raise ValueError(f"{part} {fault}")
    return {f"{key}.{part}": domain for part, domain in domains.items()}


def _ends(domain: ParameterDomain) -> list[Option]:
    if not isinstance(domain, Domain):
        return [domain]
    return list(domain.options) or [domain.low, domain.high]


def read_portfolio(data: object, catalog: Catalog, faults: list[str]) -> dict[str, Recipe]:
    """Read the portfolio's recipes by name; append to `faults`."""
    if not isinstance(data, Mapping):
        faults.append("portfolio: must be a mapping from names to recipes")
        return {}
    recipes: dict[str, Recipe] = {}
    # Techniques that are not installed are no fault of the space; `for_task` leaves those recipes out.
    installable = {name: replace(info, available=True) for name, info in catalog.items()}
    for name, given in data.items():
        try:
            recipes[str(name)] = Recipe.from_data(given, f"portfolio.{name}")
        except UsageError as error:
            faults.append(str(error))
            continue
        recipe = recipes[str(name)]
        misfits = misplaced(recipe.components(), recipe.techniques, catalog)
        faults += [f"portfolio.{name}: {fault}" for fault in misfits + check(recipe.chosen(), installable)]
    return recipes


def model_domains(space: Mapping[str, object]) -> ParameterDomains:
    """Read the domains of `Task(space=...)`, or of its plain data.

    Raises:
        TaskError: With all faults.
    """
    domains: dict[str, ParameterDomain] = {}
    conditions: dict[str, Mapping[str, object]] = {}
    faults: list[str] = []
    for name, given in space.items():
        try:
            data, conditions[name] = take_condition(given)
            if data == {} and conditions[name]:
                raise ValueError("`when` stands beside a range {low: , high: } or {options: [...]}")
            domains[name] = read_domain(data)
        except ValueError as error:
            faults.append(f"space.{name}: {error}")
    ordered = conditional("space", domains, conditions, faults)
    if faults:
        raise TaskError("\n  ".join(["Task(space=...):", *faults]))
    return ordered


def plain_space(space: Mapping[str, object]) -> dict[str, Any]:
    """Return `Task(space=...)` as plain data, which `model_domains` reads as the same.

    Raises:
        TaskError: With all faults.
    """
    return {name: _plain(domain) for name, domain in model_domains(space).items()}


def _plain(domain: ParameterDomain) -> Any:
    if not isinstance(domain, Domain):
        return plain_value(domain)
    options = [plain_value(option) for option in domain.options]
    flags = {name: True for name in ("log", "integer") if getattr(domain, name)}
    when = {name: _plain(wanted) for name, wanted in domain.when.items()}
    if options:
        return {"options": options, "when": when} if when else options
    return {"low": domain.low, "high": domain.high, **flags, **({"when": when} if when else {})}
