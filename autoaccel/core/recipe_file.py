"""The YAML and JSON format of a recipe: its schema, parsing, and error messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from autoaccel.core.values import TUPLE, read_value
from autoaccel.errors import UsageError, suggestion

TUPLE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": [TUPLE],
    "additionalProperties": False,
    "properties": {TUPLE: {"type": "array"}},
}
_OPTIONS = [*({"type": kind} for kind in ("boolean", "number", "string", "null", "array")), TUPLE_SCHEMA]
_SCHEDULE = {
    "type": "object",
    "required": ["start", "end"],
    "properties": {name: {"type": "number"} for name in ("start", "end", "since", "until")}
    | {"shape": {"type": "string"}},
}
ParameterValue = Annotated[Any, PlainValidator(read_value), WithJsonSchema({"anyOf": [*_OPTIONS, _SCHEDULE]})]


def _named(data: Any) -> Any:
    return {"name": data} if isinstance(data, str) else data


class ChoiceFile(BaseModel):
    """A mapping with a technique's name and its parameters."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ParameterValue]
    name: str


Chosen = Annotated[ChoiceFile, BeforeValidator(_named, json_schema_input_type=str | ChoiceFile)]
Parameters = Annotated[dict[str, ParameterValue], BeforeValidator(lambda data: {} if data is None else data)]


def _switched(data: Any) -> Any:
    """The techniques that are on: `name: false` is off, and `name: true` has the default parameters."""
    if not isinstance(data, Mapping):
        return {} if data is None else data
    return {name: {} if given is True else given for name, given in data.items() if given is not False}


_DEFAULT: Any = Field(None)
"""Use the recipe's default. Pydantic does not validate defaults, so an explicit null in a file is still refused."""


class RecipeFile(BaseModel):
    """The contents of a recipe file."""

    model_config = ConfigDict(extra="forbid", title="autoaccel recipe")
    version: Literal[1, 2] = Field(2, alias="schema")
    optimizer: Chosen = _DEFAULT
    learning_rate: Chosen = _DEFAULT
    batch_size: Chosen = _DEFAULT
    techniques: Annotated[dict[str, Parameters], BeforeValidator(_switched)] = Field({})
    model: Parameters = Field({})


def parse(data: object, source: str) -> RecipeFile:
    """Validate the plain data of a recipe.

    Raises:
        UsageError: With all faults and their paths.
    """
    try:
        return RecipeFile.model_validate(data)
    except ValidationError as error:
        lines = list(dict.fromkeys(_line(fault) for fault in error.errors(include_url=False)))
        count = f"{len(lines)} problem{'s' if len(lines) != 1 else ''}"
        raise UsageError("\n  ".join([f"{source}: {count}", *lines])) from None


def _line(fault: Mapping[str, Any]) -> str:
    path = ".".join(map(str, fault["loc"]))
    keys = [field.alias or name for name, field in RecipeFile.model_fields.items()]
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key{suggestion(path, keys)}"
    if not path:
        return f"must be a mapping with {', '.join(keys)}, got {type(fault['input']).__name__}"
    if fault["type"] in ("model_type", "missing"):
        return f"{path.removesuffix('.name')}: must be a name, or a mapping with `name` and parameters"
    return f"{path} = {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"
