"""A search space: all recipes that may be proposed, read from YAML and checked against the catalog.

In YAML, a scalar fixes a parameter, a list gives its options, `{low: , high: , log: }` a range, and `auto` the
range that the technique declares. Parameters that are not mentioned keep the technique's default. Nesting makes
parameters conditional: `momentum` under `sgd` exists only if SGD is chosen. `when` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from types import MappingProxyType

from autoaccel.core.catalog import REFERENCE, Catalog, Domain, check, clashes
from autoaccel.core.recipe import COMPONENTS, Choice, Recipe
from autoaccel.core.schedules import Option, Value
from autoaccel.errors import UsageError, suggestion
from autoaccel.search_spaces import read as read_space
from autoaccel.spaces.choosers import Chooser, RandomChooser
from autoaccel.spaces.conditions import ParameterDomains, holds, needs
from autoaccel.spaces.domains import KEYS, extended, read_component, read_portfolio, read_techniques

ON_OFF = Domain(options=(False, True))
ON_SHARE = 0.2
MOST_ON = 3.5
"""Few techniques help a given task, and a recipe with half of them on is almost surely bad. So a random recipe has
each one on with probability `ON_SHARE`, or less if that would turn on more than `MOST_ON` on average."""


@dataclass(frozen=True)
class SearchSpace:
    """The techniques that may be chosen, and the domains of their parameters.

    Args:
        name: For display.
        components: For each component, the techniques offered, each with its domains.
        techniques: The optional techniques offered, each with its domains.
        required: Names in `techniques` that are always on.
        model: Domains of the hyperparameters of the user's model factory.
        defaults: What the factory takes for hyperparameters that a recipe does not set, as far as is known.
        portfolio: Recipes to try first, by name.
        catalog: The known techniques by name.
        description: For display.
    """

    name: str
    components: Mapping[str, Mapping[str, ParameterDomains]]
    techniques: Mapping[str, ParameterDomains]
    required: frozenset[str]
    catalog: Catalog
    model: ParameterDomains = field(default_factory=dict)
    defaults: Mapping[str, Option] = field(default_factory=dict)
    portfolio: Mapping[str, Recipe] = field(default_factory=dict)
    description: str = ""

    def draw(self, chooser: Chooser, reference: bool = True) -> Recipe:
        """Draw a recipe. Techniques that conflict with those already chosen are never offered to `chooser`.

        Args:
            chooser: Picks the values.
            reference: Whether there is a finished model that a recipe may learn from.
        """
        flat: dict[str, Option] = {}
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
        """Draw a random recipe; the same seed gives the same recipe."""
        return self.draw(RandomChooser(seed, self.on_share))

    @property
    def on_share(self) -> float:
        """Probability that a random recipe has an optional technique on."""
        return min(ON_SHARE, MOST_ON / max(1, len(self.techniques) - len(self.required)))

    def learns(self, recipe: Recipe) -> bool:
        """Return whether a recipe learns from a finished model."""
        return any(REFERENCE in self.catalog[name].requires for name in recipe.chosen() if name in self.catalog)

    @cached_property
    def _clashes(self) -> Mapping[str, frozenset[str]]:
        return clashes([*chain.from_iterable(self.components.values()), *self.techniques], self.catalog)

    def _fits(self, name: str, chosen: Iterable[str]) -> bool:
        return self.catalog[name].available and self._clashes[name].isdisjoint(chosen)

    def _leads_on(self, component: str, name: str, chosen: Sequence[str]) -> bool:
        """Return whether choosing `name` leaves at least one choice for every later component."""
        if not self._fits(name, chosen):
            return False
        later = COMPONENTS[COMPONENTS.index(component) + 1 :]
        taken = [*chosen, name]
        return not later or any(self._leads_on(later[0], other, taken) for other in self.components[later[0]])

    def domains(self) -> dict[str, Domain]:
        """Return the domains of all searched parameters, by the names that `draw` passes to a chooser."""
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
        """Return the space without the techniques that this task or installation lacks, and notes to show.

        Raises:
            UsageError: If no choice is left for a component.
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

    def with_model(
        self, domains: ParameterDomains, defaults: Mapping[str, Option] = MappingProxyType({})
    ) -> SearchSpace:
        """Return the same space with the hyperparameters of the user's model, and their defaults."""
        return replace(self, model=domains, defaults=defaults)

    def flat(self, recipe: Recipe) -> dict[str, Option]:
        """Return a recipe's flat parameters, with the defaults of the user's hyperparameters."""
        return {**{f"model.{name}": given for name, given in self.defaults.items()}, **recipe.flat()}

    def fit(self, recipe: Recipe) -> Recipe | None:
        """Return the nearest valid recipe in the space; None if a component's choice is not offered."""
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
    def load(cls, name: str, catalog: Catalog | None = None) -> SearchSpace:
        """Read one of autoaccel's search spaces, or a YAML file.

        Args:
            name: `vision`, `text`, `tabular`, `finetune`, `minimal`, or a path.
            catalog: The known techniques; if None, all that are installed, which imports torch.

        Raises:
            UsageError: With all faults of the file.
        """
        if catalog is None:
            # Imported here: the command line's own process never loads torch.
            from autoaccel.techniques.registry import catalog as installed

            catalog = installed()
        return cls.from_data(read_space(name), catalog, read_space, name)

    @classmethod
    def from_data(
        cls,
        data: object,
        catalog: Catalog,
        read: Callable[[str], object],
        source: str = "search space",
    ) -> SearchSpace:
        """Read a search space from plain data, following `extends`.

        Args:
            data: The contents of the YAML file.
            catalog: The known techniques.
            read: Returns the data of another search space by name, for `extends`.
            source: The file's name, for messages.

        Raises:
            UsageError: With all faults and their paths.
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


def _pick(chooser: Chooser, name: str, options: tuple[str, ...]) -> Option:
    return options[0] if len(options) == 1 else chooser.choose(name, Domain(options=options))


def _choose_parameters(chooser: Chooser, prefix: str, domains: ParameterDomains, flat: dict[str, Option]) -> None:
    chosen: dict[str, Option] = {}
    for path, domain in domains.items():
        if holds(domain, chosen):
            chosen[path] = chooser.choose(f"{prefix}.{path}", domain) if isinstance(domain, Domain) else domain
    flat.update({f"{prefix}.{path}": given for path, given in chosen.items()})


def _searched(prefix: str, domains: ParameterDomains) -> dict[str, Domain]:
    return {f"{prefix}.{path}": domain for path, domain in domains.items() if isinstance(domain, Domain)}


def _fitted(parameters: Mapping[str, Value], domains: ParameterDomains, fill: bool = True) -> dict[str, Value]:
    """Set fixed parameters and clip searched ones to their domains; fill in options if `fill`.

    A parameter whose condition does not hold is left out; that of one which is not mentioned may hold by default.
    """
    fitted = dict(parameters)
    dropped: set[str] = set()
    for path, domain in domains.items():
        if "." in path:
            continue
        if (fitted.keys() | dropped) & needs(domain) and not holds(domain, fitted):
            fitted.pop(path, None)
            dropped.add(path)
        elif not isinstance(domain, Domain):
            fitted[path] = domain
        elif path in fitted:
            fitted[path] = _clip(fitted[path], domain)
        elif fill and domain.options:
            fitted[path] = domain.options[0]
    return fitted


def _clip(given: Value, domain: Domain) -> Value:
    if domain.options:
        return domain.option(given) if domain.contains(given) else domain.options[0]
    if isinstance(given, bool) or not isinstance(given, int | float):
        return given
    clipped = min(max(given, domain.low), domain.high)
    return int(clipped) if domain.integer else clipped
