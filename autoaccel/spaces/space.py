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

from autoaccel.core.catalog import COMPONENTS, REFERENCE, Catalog, Domain, Value, check
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.schedules import Schedule
from autoaccel.errors import UsageError, suggestion
from autoaccel.spaces.domains import (
    KEYS,
    ParameterDomains,
    Scalar,
    extended,
    read_component,
    read_portfolio,
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
        components: For each component the techniques offered, each with its domains.
        techniques: Optional techniques offered, each with its domains.
        required: Those of `techniques` that are always on.
        model: ParameterDomains of the user's own model factory.
        portfolio: Recipes that are tried first, by name.
        catalog: What the names mean.
        description: For people.
    """

    name: str
    components: Mapping[str, Mapping[str, ParameterDomains]]
    techniques: Mapping[str, ParameterDomains]
    required: frozenset[str]
    catalog: Catalog
    model: ParameterDomains = field(default_factory=dict)
    portfolio: Mapping[str, Recipe] = field(default_factory=dict)
    description: str = ""

    def draw(self, chooser: Chooser, reference: bool = True) -> Recipe:
        """A recipe whose values `chooser` picks. Forbidden combinations are never offered to it.

        Args:
            chooser: Picks the values.
            reference: Whether there is a finished model that a recipe may learn from.
        """
        flat: dict[str, Scalar] = {}
        names: list[str] = []
        for component in COMPONENTS:
            offered = [name for name in self.components[component] if self._leads_on(component, name, names)]
            name = str(_pick(chooser, component, tuple(offered)))
            names.append(name)
            flat[component] = name
            _choose_parameters(chooser, f"{component}.{name}", self.components[component][name], flat)
        for name, domains in self.techniques.items():
            if not self._fits(name, names) or not (reference or REFERENCE not in self.catalog[name].requires):
                continue
            path = f"techniques.{name}"
            if name in self.required or chooser.choose(path, ON_OFF):
                names.append(name)
                flat[path] = True
                _choose_parameters(chooser, path, domains, flat)
        _choose_parameters(chooser, "model", self.model, flat)
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
        return any(REFERENCE in self.catalog[name].requires for name in recipe.chosen() if name in self.catalog)

    def _fits(self, name: str, chosen: Iterable[str]) -> bool:
        return not check({key: {} for key in (*chosen, name)}, self.catalog)

    def _leads_on(self, component: str, name: str, chosen: Sequence[str]) -> bool:
        """Whether a component's choice leaves one for every component after it."""
        if not self._fits(name, chosen):
            return False
        later = COMPONENTS[COMPONENTS.index(component) + 1 :]
        taken = [*chosen, name]
        return not later or any(self._leads_on(later[0], other, taken) for other in self.components[later[0]])

    def domains(self) -> dict[str, Domain]:
        """Every parameter that can be searched, under the name that `draw` asks for it with."""
        found: dict[str, Domain] = {}
        for component in COMPONENTS:
            if len(self.components[component]) > 1:
                found[component] = Domain(options=tuple(self.components[component]))
            for name, domains in self.components[component].items():
                found.update(_searched(f"{component}.{name}", domains))
        for name, domains in self.techniques.items():
            if name not in self.required:
                found[f"techniques.{name}"] = ON_OFF
            found.update(_searched(f"techniques.{name}", domains))
        found.update(_searched("model", self.model))
        return found

    def for_task(self, capabilities: Iterable[str]) -> tuple[SearchSpace, list[str]]:
        """The space without what this task or installation cannot offer, and the notes to show for it.

        Raises:
            UsageError: If nothing is left of a component.
        """
        offered = {*capabilities, REFERENCE}
        missing: dict[str, list[str]] = {}

        def keep(name: str) -> bool:
            info = self.catalog[name]
            if not info.available and info.requires <= offered:
                missing.setdefault(info.extra, []).append(name)
            return info.available and info.requires <= offered

        components = {
            component: {n: a for n, a in named.items() if keep(n)} for component, named in self.components.items()
        }
        for component, named in components.items():
            if not named:
                raise UsageError(f"search space {self.name}: nothing this task can use is left for {component}")
        techniques = {name: domains for name, domains in self.techniques.items() if keep(name)}
        required = self.required & set(techniques)
        portfolio = {
            name: recipe
            for name, recipe in self.portfolio.items()
            if all(self.catalog[chosen].available for chosen in recipe.chosen())
        }
        notes = [
            f"left out: {', '.join(names)}; pip install 'autoaccel[{extra}]' to search that too"
            for extra, names in missing.items()
        ]
        return replace(
            self, components=components, techniques=techniques, required=required, portfolio=portfolio
        ), notes

    def with_model(self, domains: ParameterDomains) -> SearchSpace:
        """The same space with the hyperparameters of the user's own model."""
        return replace(self, model=domains)

    def fit(self, recipe: Recipe) -> Recipe | None:
        """The nearest recipe inside the space, or None when a component's choice is not offered."""
        components: dict[str, Choice] = {}
        for component in COMPONENTS:
            choice: Choice = getattr(recipe, component)
            if choice.name not in self.components[component]:
                return None
            components[component] = Choice(
                choice.name, _fitted(choice.parameters, self.components[component][choice.name])
            )
        techniques = {
            name: _fitted(recipe.techniques.get(name, {}), domains)
            for name, domains in self.techniques.items()
            if name in recipe.techniques or name in self.required
        }
        fitted = Recipe(**components, techniques=techniques, model=_fitted(recipe.model, self.model, fill=False))
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
        components = {
            component: read_component(component, merged.get(component), catalog, faults) for component in COMPONENTS
        }
        techniques, required = read_techniques(merged.get("techniques") or {}, catalog, faults)
        portfolio = read_portfolio(merged.get("portfolio") or {}, catalog, faults)
        if faults:
            count = f"{len(faults)} problem{'s' if len(faults) > 1 else ''}"
            raise UsageError("\n  ".join([f"{source}: {count}", *faults]))
        return cls(
            name=str(merged.get("name", source)),
            components=components,
            techniques=techniques,
            required=required,
            catalog=catalog,
            portfolio=portfolio,
            description=str(merged.get("description", "")).strip(),
        )


def _pick(chooser: Chooser, name: str, options: tuple[str, ...]) -> Scalar:
    return options[0] if len(options) == 1 else chooser.choose(name, Domain(options=options))


def _choose_parameters(chooser: Chooser, prefix: str, domains: ParameterDomains, flat: dict[str, Scalar]) -> None:
    for path, domain in domains.items():
        name = f"{prefix}.{path}"
        flat[name] = chooser.choose(name, domain) if isinstance(domain, Domain) else domain


def _searched(prefix: str, domains: ParameterDomains) -> dict[str, Domain]:
    return {f"{prefix}.{path}": domain for path, domain in domains.items() if isinstance(domain, Domain)}


def _fitted(parameters: Mapping[str, Value], domains: ParameterDomains, fill: bool = True) -> dict[str, Value]:
    """The parameters with fixed domains set and searched ones clipped to their domain."""
    fitted = dict(parameters)
    for path, domain in domains.items():
        if "." in path:
            continue
        if not isinstance(domain, Domain):
            fitted[path] = domain
        elif path in fitted:
            fitted[path] = _clip(fitted[path], domain)
        elif fill and domain.options:
            fitted[path] = domain.options[0]
    return fitted


def _clip(given: Value, domain: Domain) -> Value:
    if isinstance(given, Schedule | str | bool) or domain.options:
        return given if given in domain.options or not domain.options else domain.options[0]
    return min(max(given, domain.low), domain.high)
