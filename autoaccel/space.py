"""A search space: all recipes that may be proposed, read from YAML, checked against the catalog.

In YAML a scalar fixes a parameter, a list gives its options, `{low: , high: , log: }` a range, and `auto` the
range that the technique declares. What is not mentioned keeps the technique's default. Conditions follow from
nesting: `momentum` under `sgd` exists only where SGD is chosen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from autoaccel.catalog import SLOTS, Catalog, Domain, TechniqueInfo, Value, check, parameter_faults
from autoaccel.errors import TaskError, UsageError, suggestion
from autoaccel.recipe import Choice, Recipe
from autoaccel.schedules import Schedule

Scalar = bool | int | float | str
Axis = Domain | Scalar
Axes = Mapping[str, Axis]
ON_OFF = Domain(options=(False, True))
ON_SHARE = 0.2
"""Of many techniques few help a given task, and a recipe with half of them on is bad almost surely."""
_RANGE_KEYS = {"low", "high", "log", "integer"}
_KEYS = ("schema", "name", "description", "extends", *SLOTS, "techniques", "known_good")


class Chooser(Protocol):
    """Picks a value for each parameter that a draw needs, in a fixed order."""

    def choose(self, name: str, domain: Domain) -> Scalar:
        """A value of `domain` for the parameter `name`."""
        ...


class RandomChooser:
    """Independent draws, uniform or log-uniform; an optional technique is on in `ON_SHARE` of them."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def choose(self, name: str, domain: Domain) -> Scalar:
        """A random value of `domain`."""
        if name.startswith("techniques.") and name.count(".") == 1:
            return self._random.random() < ON_SHARE
        return draw(domain, self._random)


def draw(domain: Domain, source: random.Random) -> Scalar:
    """A uniform draw, on the logarithmic scale where the domain asks for it."""
    if domain.options:
        return source.choice(domain.options)
    if domain.log:
        drawn = domain.low * float((domain.high / domain.low) ** source.random())
    else:
        drawn = domain.low + (domain.high - domain.low) * source.random()
    return min(int(domain.high), max(int(domain.low), round(drawn))) if domain.integer else drawn


@dataclass(frozen=True)
class SearchSpace:
    """Which techniques may be chosen, and the values of their parameters.

    Args:
        name: For people.
        slots: For each slot the techniques offered, each with its axes.
        techniques: Optional techniques offered, each with its axes.
        required: Those of `techniques` that are always on.
        model: Axes of the user's own model factory.
        known_good: Recipes that are tried first, by name.
        catalog: What the names mean.
        description: For people.
    """

    name: str
    slots: Mapping[str, Mapping[str, Axes]]
    techniques: Mapping[str, Axes]
    required: frozenset[str]
    catalog: Catalog
    model: Axes = field(default_factory=dict)
    known_good: Mapping[str, Recipe] = field(default_factory=dict)
    description: str = ""

    def draw(self, chooser: Chooser) -> Recipe:
        """A recipe whose values `chooser` picks. Forbidden combinations are never offered to it."""
        flat: dict[str, Scalar] = {}
        names: list[str] = []
        for slot in SLOTS:
            offered = [name for name in self.slots[slot] if self._fits(name, names)]
            name = str(_pick(chooser, slot, tuple(offered)))
            names.append(name)
            flat[slot] = name
            _choose_axes(chooser, f"{slot}.{name}", self.slots[slot][name], flat)
        for name, axes in self.techniques.items():
            if not self._fits(name, names):
                continue
            path = f"techniques.{name}"
            if name in self.required or chooser.choose(path, ON_OFF):
                names.append(name)
                flat[path] = True
                _choose_axes(chooser, path, axes, flat)
        _choose_axes(chooser, "model", self.model, flat)
        return Recipe.from_flat(flat)

    def sample(self, seed: int) -> Recipe:
        """A random recipe; the same for the same seed."""
        return self.draw(RandomChooser(seed))

    def _fits(self, name: str, chosen: Iterable[str]) -> bool:
        return not check({key: {} for key in (*chosen, name)}, self.catalog)

    def domains(self) -> dict[str, Domain]:
        """Every parameter that can be searched, under the name that `draw` asks for it with."""
        found: dict[str, Domain] = {}
        for slot in SLOTS:
            if len(self.slots[slot]) > 1:
                found[slot] = Domain(options=tuple(self.slots[slot]))
            for name, axes in self.slots[slot].items():
                found.update(_searched(f"{slot}.{name}", axes))
        for name, axes in self.techniques.items():
            if name not in self.required:
                found[f"techniques.{name}"] = ON_OFF
            found.update(_searched(f"techniques.{name}", axes))
        found.update(_searched("model", self.model))
        return found

    def for_task(self, traits: Iterable[str]) -> tuple[SearchSpace, list[str]]:
        """The space without what this task or installation cannot offer, and the notes to show for it.

        Raises:
            UsageError: If nothing is left of a slot.
        """
        offered = set(traits)
        notes: list[str] = []

        def keep(name: str) -> bool:
            info = self.catalog[name]
            if not info.available:
                notes.append(f"{name} is left out: pip install 'autoaccel[{info.extra}]' to search it too")
            return info.available and info.needs <= offered

        slots = {slot: {n: a for n, a in named.items() if keep(n)} for slot, named in self.slots.items()}
        for slot, named in slots.items():
            if not named:
                raise UsageError(f"search space {self.name}: nothing this task can use is left for {slot}")
        techniques = {name: axes for name, axes in self.techniques.items() if keep(name)}
        return replace(self, slots=slots, techniques=techniques, required=self.required & set(techniques)), notes

    def with_model(self, axes: Axes) -> SearchSpace:
        """The same space with the hyperparameters of the user's own model."""
        return replace(self, model=axes)

    def fit(self, recipe: Recipe) -> Recipe | None:
        """The nearest recipe inside the space, or None when a slot's choice is not offered."""
        slots: dict[str, Choice] = {}
        for slot in SLOTS:
            choice: Choice = getattr(recipe, slot)
            if choice.name not in self.slots[slot]:
                return None
            slots[slot] = Choice(choice.name, _fitted(choice.parameters, self.slots[slot][choice.name]))
        techniques = {
            name: _fitted(recipe.techniques.get(name, {}), axes)
            for name, axes in self.techniques.items()
            if name in recipe.techniques or name in self.required
        }
        fitted = Recipe(**slots, techniques=techniques, model=_fitted(recipe.model, self.model, fill=False))
        return None if check(fitted.chosen(), self.catalog) else fitted

    @classmethod
    def from_data(
        cls,
        data: object,
        catalog: Catalog,
        read: Callable[[str], object],
        source: str = "search space",
    ) -> Self:
        """Read plain data, following `extends`.

        Args:
            data: What the YAML file holds.
            catalog: The known techniques.
            read: Gives the data of another search space by name, for `extends`.
            source: The file's name for messages.

        Raises:
            UsageError: Naming every fault at once, each with its path.
        """
        merged = _extended(data, read, source)
        faults: list[str] = [
            f"{key}: unknown key{suggestion(str(key), _KEYS)}" for key in merged if key not in _KEYS
        ]
        slots = {slot: _read_slot(slot, merged.get(slot), catalog, faults) for slot in SLOTS}
        techniques, required = _read_techniques(merged.get("techniques") or {}, catalog, faults)
        known_good = _read_known_good(merged.get("known_good") or {}, catalog, faults)
        if faults:
            count = f"{len(faults)} problem{'s' if len(faults) > 1 else ''}"
            raise UsageError("\n  ".join([f"{source}: {count}", *faults]))
        return cls(
            name=str(merged.get("name", source)),
            slots=slots,
            techniques=techniques,
            required=required,
            catalog=catalog,
            known_good=known_good,
            description=str(merged.get("description", "")).strip(),
        )


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


def _pick(chooser: Chooser, name: str, options: tuple[str, ...]) -> Scalar:
    return options[0] if len(options) == 1 else chooser.choose(name, Domain(options=options))


def _choose_axes(chooser: Chooser, prefix: str, axes: Axes, flat: dict[str, Scalar]) -> None:
    for path, axis in axes.items():
        name = f"{prefix}.{path}"
        flat[name] = chooser.choose(name, axis) if isinstance(axis, Domain) else axis


def _searched(prefix: str, axes: Axes) -> dict[str, Domain]:
    return {f"{prefix}.{path}": axis for path, axis in axes.items() if isinstance(axis, Domain)}


def _fitted(parameters: Mapping[str, Value], axes: Axes, fill: bool = True) -> dict[str, Value]:
    """The parameters with fixed axes set and searched ones clipped to their domain."""
    fitted = dict(parameters)
    for path, axis in axes.items():
        if "." in path:
            continue
        if not isinstance(axis, Domain):
            fitted[path] = axis
        elif path in fitted:
            fitted[path] = _clip(fitted[path], axis)
        elif fill and axis.options:
            fitted[path] = axis.options[0]
    return fitted


def _clip(given: Value, domain: Domain) -> Value:
    if isinstance(given, Schedule | str | bool) or domain.options:
        return given if given in domain.options or not domain.options else domain.options[0]
    return min(max(given, domain.low), domain.high)


def _extended(data: object, read: Callable[[str], object], source: str, depth: int = 0) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise UsageError(f"{source}: a search space is a mapping with {', '.join(_KEYS)}")
    if "extends" not in data:
        return dict(data)
    if depth > 8:
        raise UsageError(f"{source}: `extends` goes round in a circle")
    base = _extended(read(str(data["extends"])), read, str(data["extends"]), depth + 1)
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


def _read_slot(slot: str, data: object, catalog: Catalog, faults: list[str]) -> dict[str, Axes]:
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


def _read_techniques(data: object, catalog: Catalog, faults: list[str]) -> tuple[dict[str, Axes], frozenset[str]]:
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


def _read_known_good(data: object, catalog: Catalog, faults: list[str]) -> dict[str, Recipe]:
    if not isinstance(data, Mapping):
        faults.append("known_good: must be a mapping from names to recipes")
        return {}
    recipes: dict[str, Recipe] = {}
    for name, given in data.items():
        try:
            recipes[str(name)] = Recipe.from_data(given, f"known_good.{name}")
        except UsageError as error:
            faults.append(str(error))
            continue
        faults += [f"known_good.{name}: {fault}" for fault in check(recipes[str(name)].chosen(), catalog)]
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
