"""A search space: all recipes that may be proposed, read from YAML, checked against the catalog.

In YAML a scalar fixes a parameter, a list gives its options, `{low: , high: , log: }` a range, and `auto` the
range that the technique declares. What is not mentioned keeps the technique's default. Conditions follow from
nesting: `momentum` under `sgd` exists only where SGD is chosen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from autoaccel.core.catalog import REFERENCE, SLOTS, Catalog, Domain, Value, check
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.schedules import Schedule
from autoaccel.errors import UsageError, suggestion
from autoaccel.spaces.domains import (
    KEYS,
    Axes,
    Scalar,
    extended,
    read_known_good,
    read_slot,
    read_techniques,
)

ON_OFF = Domain(options=(False, True))
ON_SHARE = 0.2
MOST_ON = 3.5
"""Of many techniques few help a given task, and a recipe with half of them on is bad almost surely: a random
recipe has each on with a chance of `ON_SHARE`, less where that would turn on more than `MOST_ON` on average."""


class Chooser(Protocol):
    """Picks a value for each parameter that a draw needs, in a fixed order."""

    def choose(self, name: str, domain: Domain) -> Scalar:
        """A value of `domain` for the parameter `name`."""
        ...


class RandomChooser:
    """Independent draws, uniform or log-uniform.

    Args:
        seed: Of the draws.
        on_share: Chance that an optional technique is on.
    """

    def __init__(self, seed: int, on_share: float):
        self._random = random.Random(seed)
        self._on_share = on_share

    def choose(self, name: str, domain: Domain) -> Scalar:
        """A random value of `domain`."""
        if is_switch(name):
            return self._random.random() < self._on_share
        return draw(domain, self._random)


def is_switch(name: str) -> bool:
    """Whether a parameter turns an optional technique on or off."""
    return name.startswith("techniques.") and name.count(".") == 1


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

    def draw(self, chooser: Chooser, reference: bool = True) -> Recipe:
        """A recipe whose values `chooser` picks. Forbidden combinations are never offered to it.

        Args:
            chooser: Picks the values.
            reference: Whether there is a finished model that a recipe may learn from.
        """
        flat: dict[str, Scalar] = {}
        names: list[str] = []
        for slot in SLOTS:
            offered = [name for name in self.slots[slot] if self._leads_on(slot, name, names)]
            name = str(_pick(chooser, slot, tuple(offered)))
            names.append(name)
            flat[slot] = name
            _choose_axes(chooser, f"{slot}.{name}", self.slots[slot][name], flat)
        for name, axes in self.techniques.items():
            if not self._fits(name, names) or not (reference or REFERENCE not in self.catalog[name].needs):
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
        return self.draw(RandomChooser(seed, self.on_share))

    @property
    def on_share(self) -> float:
        """Chance that a random recipe has an optional technique on."""
        return min(ON_SHARE, MOST_ON / max(1, len(self.techniques) - len(self.required)))

    def learns(self, recipe: Recipe) -> bool:
        """Whether a recipe learns from a finished model."""
        return any(REFERENCE in self.catalog[name].needs for name in recipe.chosen() if name in self.catalog)

    def _fits(self, name: str, chosen: Iterable[str]) -> bool:
        return not check({key: {} for key in (*chosen, name)}, self.catalog)

    def _leads_on(self, slot: str, name: str, chosen: Sequence[str]) -> bool:
        """Whether a slot's choice leaves one for every slot after it."""
        if not self._fits(name, chosen):
            return False
        later = SLOTS[SLOTS.index(slot) + 1 :]
        taken = [*chosen, name]
        return not later or any(self._leads_on(later[0], other, taken) for other in self.slots[later[0]])

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
        offered = {*traits, REFERENCE}
        missing: dict[str, list[str]] = {}

        def keep(name: str) -> bool:
            info = self.catalog[name]
            if not info.available and info.needs <= offered:
                missing.setdefault(info.extra, []).append(name)
            return info.available and info.needs <= offered

        slots = {slot: {n: a for n, a in named.items() if keep(n)} for slot, named in self.slots.items()}
        for slot, named in slots.items():
            if not named:
                raise UsageError(f"search space {self.name}: nothing this task can use is left for {slot}")
        techniques = {name: axes for name, axes in self.techniques.items() if keep(name)}
        required = self.required & set(techniques)
        known_good = {
            name: recipe
            for name, recipe in self.known_good.items()
            if all(self.catalog[chosen].available for chosen in recipe.chosen())
        }
        notes = [
            f"left out: {', '.join(names)}; pip install 'autoaccel[{extra}]' to search that too"
            for extra, names in missing.items()
        ]
        return replace(self, slots=slots, techniques=techniques, required=required, known_good=known_good), notes

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
        merged = extended(data, read, source)
        faults: list[str] = [f"{key}: unknown key{suggestion(str(key), KEYS)}" for key in merged if key not in KEYS]
        slots = {slot: read_slot(slot, merged.get(slot), catalog, faults) for slot in SLOTS}
        techniques, required = read_techniques(merged.get("techniques") or {}, catalog, faults)
        known_good = read_known_good(merged.get("known_good") or {}, catalog, faults)
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
