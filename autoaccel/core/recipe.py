"""A recipe is a value: what is trained with, as data. It holds no code and no dotted paths.

`flat()` and `from_flat` translate between the nested form that people read and the flat parameters that a
search proposes; the two are inverse to each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from autoaccel.core.catalog import COMPONENTS, Value
from autoaccel.core.schedules import Schedule, is_schedule
from autoaccel.errors import UsageError, suggestion

SCHEMA = 2
READABLE = (1, 2)
"""Versions of the file format that are read; a recipe is the same in both."""
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
        learning_rate: The shape of the learning rate over progress.
        batch_size: Samples per optimizer step, and how they change over progress.
        techniques: Optional techniques with their parameters.
        model: Values for the hyperparameters of the user's own model factory.
    """

    optimizer: Choice = Choice("adamw")
    learning_rate: Choice = Choice("linear")
    batch_size: Choice = Choice("constant_batch")
    techniques: Mapping[str, Parameters] = field(default_factory=dict)
    model: Parameters = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> str:
        """A string that is equal for equal recipes."""
        return json.dumps(self.to_data(), sort_keys=True)

    def chosen(self) -> dict[str, Parameters]:
        """All techniques, those in the components included, with their parameters."""
        components = {choice.name: choice.parameters for choice in map(self._component, COMPONENTS)}
        return {**components, **self.techniques}

    def _component(self, component: str) -> Choice:
        choice: Choice = getattr(self, component)
        return choice

    def to_data(self) -> dict[str, Any]:
        """Plain nested data for YAML and JSON."""
        data: dict[str, Any] = {"schema": SCHEMA}
        for component in COMPONENTS:
            choice = self._component(component)
            data[component] = {"name": choice.name, **_plain(choice.parameters)}
        data["techniques"] = {name: _plain(p) for name, p in self.techniques.items()}
        data["model"] = _plain(self.model)
        return data

    @classmethod
    def from_data(cls, data: object, source: str = "recipe") -> Recipe:
        """Read plain data.

        Raises:
            UsageError: Naming every fault at once, each with its path.
        """
        faults: list[str] = []
        recipe = _read(data, faults)
        if faults or recipe is None:
            raise UsageError("\n  ".join([f"{source}: {_count(faults)}", *faults]))
        return recipe

    def to_yaml(self) -> str:
        """YAML with the components first."""
        text: str = yaml.safe_dump(self.to_data(), sort_keys=False)
        return text

    @classmethod
    def from_yaml(cls, text: str, source: str = "recipe") -> Recipe:
        """Read YAML or JSON.

        Raises:
            UsageError: When it is no YAML, or with every fault of the recipe.
        """
        return cls.from_data(load_yaml(text, source), source)

    def flat(self) -> dict[str, bool | int | float | str]:
        """The recipe as flat parameters, `optimizer.lr` or `techniques.ema.half_life`."""
        flat: dict[str, bool | int | float | str] = {}
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
    def from_flat(cls, flat: Mapping[str, bool | int | float | str]) -> Recipe:
        """The inverse of `flat`. A technique that is set to False is left out."""
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
"""The two forms of the plain recipe, with torch's own weight decay on all parameters."""


def load_yaml(text: str, source: str) -> object:
    """Parse YAML without running code or expanding aliases.

    Raises:
        UsageError: With the line of the fault.
    """
    if len(text) > 1_000_000:
        raise UsageError(f"{source}: larger than 1 MB, which is no recipe or search space")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise UsageError(f"{source}: YAML aliases (*name) are not accepted")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{source}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None


def read_value(data: Any) -> Value:
    """A parameter from plain data: a mapping with `start` and `end` is a schedule.

    Raises:
        ValueError: If it is neither a scalar nor a schedule.
    """
    if is_schedule(data):
        try:
            return Schedule(**data)
        except TypeError as error:
            raise ValueError(str(error).replace("Schedule.__init__() ", "")) from None
    if isinstance(data, bool | int | float | str):
        return data
    raise ValueError(f"{data!r} is neither a number, a word nor a schedule with start and end")


def _read(data: object, faults: list[str]) -> Recipe | None:
    keys = ("schema", *COMPONENTS, "techniques", "model")
    if not isinstance(data, Mapping):
        faults.append(f"must be a mapping with {', '.join(keys)}, got {type(data).__name__}")
        return None
    if data.get("schema", SCHEMA) not in READABLE:
        faults.append(f"schema = {data['schema']!r}: this version reads schema {' and '.join(map(str, READABLE))}")
    faults += [f"{key}: unknown key{suggestion(str(key), keys)}" for key in data if key not in keys]
    components = {
        component: _read_choice(component, data[component], faults) for component in COMPONENTS if component in data
    }
    techniques = data.get("techniques") or {}
    if not isinstance(techniques, Mapping):
        faults.append("techniques: must be a mapping from names to parameters")
        techniques = {}
    read = {name: _read_parameters(f"techniques.{name}", p or {}, faults) for name, p in techniques.items()}
    model = _read_parameters("model", data.get("model") or {}, faults)
    return None if faults else Recipe(**components, techniques=read, model=model)


def _read_choice(component: str, data: object, faults: list[str]) -> Choice:
    if isinstance(data, str):
        return Choice(data)
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        faults.append(f"{component}: must be a name, or a mapping with `name` and parameters")
        return Choice("")
    parameters = {key: value for key, value in data.items() if key != "name"}
    return Choice(str(data["name"]), _read_parameters(component, parameters, faults))


def _read_parameters(path: str, data: object, faults: list[str]) -> Parameters:
    if not isinstance(data, Mapping):
        faults.append(f"{path}: must be a mapping from parameters to values")
        return {}
    values: dict[str, Value] = {}
    for key, given in data.items():
        try:
            values[str(key)] = read_value(given)
        except ValueError as error:
            faults.append(f"{path}.{key}: {error}")
    return values


def _plain(parameters: Parameters) -> dict[str, Any]:
    return {key: given.to_data() if isinstance(given, Schedule) else given for key, given in parameters.items()}


def _flatten(prefix: str, parameters: Parameters, flat: dict[str, bool | int | float | str]) -> None:
    for key, given in parameters.items():
        if isinstance(given, Schedule):
            flat.update({f"{prefix}.{key}.{part}": amount for part, amount in given.to_data().items()})
        else:
            flat[f"{prefix}.{key}"] = given


def _nested(prefix: str, flat: Mapping[str, bool | int | float | str]) -> dict[str, Value]:
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


def _count(faults: list[str]) -> str:
    return f"{len(faults)} problem{'s' if len(faults) != 1 else ''}"
