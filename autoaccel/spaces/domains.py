"""Reading a search space: axes, slots, techniques, known-good recipes from plain data; every fault named at once.

In YAML a scalar fixes a parameter, a list gives its options, `{low: , high: , log: }` a range, and `auto` the
range that the technique declares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from autoaccel.core.catalog import SLOTS, Catalog, Domain, TechniqueInfo, check, parameter_faults
from autoaccel.core.recipe import Recipe
from autoaccel.errors import TaskError, UsageError, suggestion

Scalar = bool | int | float | str
Axis = Domain | Scalar
Axes = Mapping[str, Axis]
KEYS = ("schema", "name", "description", "extends", *SLOTS, "techniques", "known_good")
_RANGE_KEYS = {"low", "high", "log", "integer"}


def read_axis(data: object) -> Axis:
    """One axis from YAML or from `Task(space=...)`: scalar, list of options, (low, high) or a mapping.

    Raises:
        ValueError: If it is none of these, or an empty range.
    """
    if isinstance(data, bool | int | float | str):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        whole = all(isinstance(end, int) for end in data)
        return _range({"low": data[0], "high": data[1], "integer": whole})
    if isinstance(data, list) and data and all(isinstance(option, bool | int | float | str) for option in data):
        return Domain(options=tuple(data))
    if isinstance(data, Mapping) and {"low", "high"} <= set(data) <= _RANGE_KEYS:
        return _range(data)
    raise ValueError(f"{data!r} is no value, list of options, or range {{low: , high: , log: }}")


def _range(data: Mapping[str, Any]) -> Domain:
    low, high = data["low"], data["high"]
    if not all(isinstance(end, int | float) for end in (low, high)) or not low < high:
        raise ValueError(f"a range needs numbers with low < high, got {low!r} and {high!r}")
    if data.get("log") and low <= 0:
        raise ValueError(f"a range with log needs low > 0, got {low!r}")
    return Domain(low, high, bool(data.get("log")), bool(data.get("integer")))


def extended(data: object, read: Callable[[str], object], source: str, depth: int = 0) -> dict[str, Any]:
    """The data of a space with those of the space that it extends merged in.

    Raises:
        UsageError: If it is no mapping, or extends itself.
    """
    if not isinstance(data, Mapping):
        raise UsageError(f"{source}: a search space is a mapping with {', '.join(KEYS)}")
    if "extends" not in data:
        return dict(data)
    if depth > 8:
        raise UsageError(f"{source}: `extends` goes round in a circle")
    base = extended(read(str(data["extends"])), read, str(data["extends"]), depth + 1)
    own = {key: part for key, part in data.items() if key != "extends"}
    for key in (*SLOTS, "techniques"):
        if isinstance(own.get(key), Mapping) and isinstance(base.get(key), Mapping):
            own[key] = _merged(base[key], own[key], replace_others=key in SLOTS)
    return {**base, **own}


def _merged(base: Mapping[str, Any], own: Mapping[str, Any], replace_others: bool) -> dict[str, Any]:
    """A slot that is named again offers only what is named; optional techniques are added to the base."""
    merged: dict[str, Any] = {} if replace_others else dict(base)
    for name, axes in own.items():
        inherited = base.get(name)
        if isinstance(axes, Mapping) and isinstance(inherited, Mapping):
            merged[name] = {**inherited, **axes}
        else:
            merged[name] = inherited if axes is None else axes
    return merged


def read_slot(slot: str, data: object, catalog: Catalog, faults: list[str]) -> dict[str, Axes]:
    """The techniques offered for a slot, each with its axes; adds what is wrong to `faults`."""
    if not isinstance(data, Mapping) or not data:
        faults.append(f"{slot}: must offer at least one technique")
        return {}
    offered: dict[str, Axes] = {}
    accepted = [name for name, info in catalog.items() if info.slot == slot]
    for name, axes in data.items():
        if name not in accepted:
            faults.append(f"{slot}.{name}: unknown; one of {', '.join(accepted)}{suggestion(name, accepted)}")
        else:
            offered[name] = _read_axes(f"{slot}.{name}", axes, catalog[name], faults)
    return offered


def read_techniques(data: object, catalog: Catalog, faults: list[str]) -> tuple[dict[str, Axes], frozenset[str]]:
    """The optional techniques with their axes, and which of them are always on; adds what is wrong to `faults`."""
    if not isinstance(data, Mapping):
        faults.append("techniques: must be a mapping from names to parameters")
        return {}, frozenset()
    offered: dict[str, Axes] = {}
    required = set()
    accepted = [name for name, info in catalog.items() if not info.slot]
    for name, axes in data.items():
        if name not in accepted:
            faults.append(f"techniques.{name}: unknown technique{suggestion(str(name), accepted)}")
            continue
        if axes is False:
            continue
        if axes is True or (isinstance(axes, Mapping) and axes.get("required")):
            required.add(str(name))
        own = {k: v for k, v in axes.items() if k != "required"} if isinstance(axes, Mapping) else {}
        if not isinstance(axes, Mapping | bool | None):
            faults.append(f"techniques.{name} = {axes!r} must be true, false or its parameters")
        offered[str(name)] = _read_axes(f"techniques.{name}", own, catalog[name], faults)
    return offered, frozenset(required)


def _read_axes(path: str, data: object, info: TechniqueInfo, faults: list[str]) -> Axes:
    axes: dict[str, Axis] = {}
    if not isinstance(data, Mapping | None):
        faults.append(f"{path} = {data!r} must be a mapping from parameters to values")
        return axes
    for key, given in (data or {}).items():
        if key not in info.parameters:
            faults.append(f"{path}.{key}: unknown parameter{suggestion(str(key), info.parameters)}")
            continue
        try:
            if given == "auto":
                axes[key] = info.parameters[key].domain
            elif isinstance(given, Mapping) and "start" in given:
                axes.update({f"{key}.{part}": read_axis(axis) for part, axis in given.items()})
            else:
                axes[key] = read_axis(given)
        except ValueError as error:
            faults.append(f"{path}.{key}: {error}")
            continue
        ends = _ends(axes.get(key))
        faults += [fault for end in ends for fault in parameter_faults(info, {key: end})]
    return axes


def _ends(axis: Axis | None) -> list[Scalar]:
    if axis is None:
        return []
    if not isinstance(axis, Domain):
        return [axis]
    return list(axis.options) or [axis.low, axis.high]


def read_known_good(data: object, catalog: Catalog, faults: list[str]) -> dict[str, Recipe]:
    """Recipes by name; adds what is wrong to `faults`."""
    if not isinstance(data, Mapping):
        faults.append("known_good: must be a mapping from names to recipes")
        return {}
    recipes: dict[str, Recipe] = {}
    # A space names what is good; what is not installed here is left out when it is fitted to a task.
    installable = {name: replace(info, available=True) for name, info in catalog.items()}
    for name, given in data.items():
        try:
            recipes[str(name)] = Recipe.from_data(given, f"known_good.{name}")
        except UsageError as error:
            faults.append(str(error))
            continue
        faults += [f"known_good.{name}: {fault}" for fault in check(recipes[str(name)].chosen(), installable)]
    return recipes


def model_axes(space: Mapping[str, object]) -> Axes:
    """The axes of `Task(space=...)`.

    Raises:
        TaskError: Naming every fault at once.
    """
    axes: dict[str, Axis] = {}
    faults = []
    for name, data in space.items():
        try:
            axes[name] = read_axis(data)
        except ValueError as error:
            faults.append(f"space.{name}: {error}")
    if faults:
        raise TaskError("\n  ".join(["Task(space=...):", *faults]))
    return axes
