"""Recipes: how to train a model, as plain data without code or dotted paths.

`flat` converts the nested form that users read to the flat parameters that a search proposes; `from_flat` is its
inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from autoaccel.core.schedules import Option, Schedule, Value
from autoaccel.core.values import frozen, plain_value, read_value
from autoaccel.core.yaml_file import SCHEMA, dump_yaml, load_yaml

COMPONENTS = ("optimizer", "learning_rate", "batch_size")
"""The components: every recipe has exactly one technique for each. All other techniques are optional."""
Parameters = Mapping[str, Value]


@dataclass(frozen=True)
class Choice:
    """The technique that fills a component, and its parameters."""

    name: str
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a task is trained, except the budget and the seed.

    Args:
        optimizer: For example `Choice("adamw", {"lr": 1e-3})`.
        learning_rate: The learning rate schedule over progress.
        batch_size: Samples per optimizer step, and how their number changes over progress.
        techniques: Optional techniques with their parameters.
        model: Values for the hyperparameters of the user's own model factory.
    """

    optimizer: Choice = Choice("adamw")
    learning_rate: Choice = Choice("linear")
    batch_size: Choice = Choice("constant_batch")
    techniques: Mapping[str, Parameters] = field(default_factory=dict)
    model: Parameters = field(default_factory=dict)

    def __hash__(self) -> int:
        # Kept, since a search looks recipes up by the thousand.
        if "_hash" not in self.__dict__:
            found = hash(frozenset((name, frozen(given)) for name, given in self.flat().items()))
            object.__setattr__(self, "_hash", found)
        return int(self.__dict__["_hash"])

    def __getstate__(self) -> dict[str, Any]:
        # Strings have other hashes in another process.
        return {name: part for name, part in self.__dict__.items() if name != "_hash"}

    def chosen(self) -> dict[str, Parameters]:
        """Return all techniques, including those that fill components, with their parameters."""
        components = {choice.name: choice.parameters for choice in map(self._component, COMPONENTS)}
        return {**components, **self.techniques}

    def components(self) -> dict[str, str]:
        """Return the name of the technique that fills each component."""
        return {component: self._component(component).name for component in COMPONENTS}

    def _component(self, component: str) -> Choice:
        choice: Choice = getattr(self, component)
        return choice

    def to_data(self) -> dict[str, Any]:
        """Return plain nested data for YAML and JSON."""
        data: dict[str, Any] = {"schema": SCHEMA}
        for component in COMPONENTS:
            choice = self._component(component)
            data[component] = {"name": choice.name, **_plain(choice.parameters)}
        data["techniques"] = {name: _plain(p) for name, p in self.techniques.items()}
        data["model"] = _plain(self.model)
        return data

    @classmethod
    def from_data(cls, data: object, source: str = "recipe") -> Recipe:
        """Read a recipe from plain data.

        Raises:
            UsageError: With all faults and their paths.
        """
        # Imported here: it brings pydantic, which the supervisor's import need not wait for.
        from autoaccel.core.recipe_file import parse

        file = parse(data, source)
        choices = {name: getattr(file, name) for name in COMPONENTS}
        components = {name: _choice(choice) for name, choice in choices.items() if choice is not None}
        return cls(**components, techniques=dict(file.techniques), model=dict(file.model))

    def to_yaml(self) -> str:
        """Return the recipe as YAML, components first."""
        return dump_yaml(self.to_data())

    @classmethod
    def from_yaml(cls, text: str, source: str = "recipe") -> Recipe:
        """Read a recipe from YAML or JSON.

        Raises:
            UsageError: If the text is not valid YAML, or with all faults of the recipe.
        """
        return cls.from_data(load_yaml(text, source), source)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Tell pydantic to read and write a recipe inside another value in its file format."""

        from pydantic_core import core_schema

        def read(data: Any) -> Recipe:
            return data if isinstance(data, cls) else cls.from_data(data)

        written = core_schema.plain_serializer_function_ser_schema(cls.to_data)
        return core_schema.no_info_plain_validator_function(read, serialization=written)

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the JSON schema of `recipe.yaml`, for editors."""
        from autoaccel.core.recipe_file import RecipeFile

        return RecipeFile.model_json_schema(by_alias=True)

    def flat(self) -> dict[str, Option]:
        """Return the recipe as flat parameters, such as `optimizer.adamw.lr` or `techniques.ema.half_life`."""
        flat: dict[str, Option] = {}
        for component in COMPONENTS:
            choice = self._component(component)
            flat[component] = choice.name
            _flatten(f"{component}.{choice.name}", choice.parameters, flat)
        for name, parameters in self.techniques.items():
            flat[f"techniques.{name}"] = True
            _flatten(f"techniques.{name}", parameters, flat)
        _flatten("model", self.model, flat)
        return flat

    @classmethod
    def from_flat(cls, flat: Mapping[str, Option]) -> Recipe:
        """Build a recipe from flat parameters; the inverse of `flat`. Techniques set to False are left out."""
        components = {
            component: Choice(str(flat[component]), _nested(f"{component}.{flat[component]}", flat))
            for component in COMPONENTS
        }
        names = [key.split(".")[1] for key, on in flat.items() if key.startswith("techniques.") and on is True
                 and key.count(".") == 1]  # fmt: skip
        techniques = {name: _nested(f"techniques.{name}", flat) for name in names}
        return cls(**components, techniques=techniques, model=_nested("model", flat))


PLAIN: Mapping[str, Recipe] = MappingProxyType(
    {
        "plain": Recipe(
            Choice("adamw", {"lr": 1e-3, "weight_decay": 0.01, "decay_all": True}),
            Choice("linear", {"warmup": 0.05}),
            Choice("constant_batch", {"size": 64}),
        ),
        "plain_constant": Recipe(
            Choice("adamw", {"lr": 1e-3, "weight_decay": 0.01, "decay_all": True}),
            Choice("constant", {"warmup": 0.0}),
            Choice("constant_batch", {"size": 64}),
        ),
    }
)
"""The two plain recipes, with PyTorch's default weight decay on all parameters."""


def _choice(given: Any) -> Choice:
    return Choice(given.name, dict(given.__pydantic_extra__))


def _plain(parameters: Parameters) -> dict[str, Any]:
    return {name: plain_value(given) for name, given in parameters.items()}


def _flatten(prefix: str, parameters: Parameters, flat: dict[str, Option]) -> None:
    for key, given in parameters.items():
        if isinstance(given, Schedule):
            flat.update({f"{prefix}.{key}.{part}": amount for part, amount in given.to_data().items()})
        else:
            flat[f"{prefix}.{key}"] = given


def _nested(prefix: str, flat: Mapping[str, Option]) -> dict[str, Value]:
    nested: dict[str, Any] = {}
    for path, given in flat.items():
        if not path.startswith(f"{prefix}."):
            continue
        key, _, part = path[len(prefix) + 1 :].partition(".")
        if part:
            nested.setdefault(key, {})[part] = given
        else:
            nested[key] = given
    return {key: read_value(given) for key, given in nested.items()}
