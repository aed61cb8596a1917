"""The JSON schema of a search space, made from the catalog: editors complete and check a YAML file with it."""

from __future__ import annotations

from typing import Any

from autoaccel.core.catalog import Catalog, Parameter, TechniqueInfo
from autoaccel.core.recipe import COMPONENTS, Recipe
from autoaccel.core.recipe_file import TUPLE_SCHEMA
from autoaccel.core.schedules import PARTS
from autoaccel.core.yaml_file import READABLE

VALUE: dict[str, Any] = {"anyOf": [{"type": ["boolean", "number", "string", "null"]}, TUPLE_SCHEMA]}
OPTIONS: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"anyOf": [VALUE, {"type": "array"}]}}
_INTERVAL = {"low": {"type": "number"}, "high": {"type": "number"}}
_CONDITION = {"type": "object", "minProperties": 2, "additionalProperties": False, "properties": _INTERVAL}
WHEN: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"anyOf": [VALUE, OPTIONS, _CONDITION]},
}
RANGE: dict[str, Any] = {
    "type": "object",
    "required": ["low", "high"],
    "additionalProperties": False,
    "properties": {
        **_INTERVAL,
        "log": {"type": "boolean"},
        "integer": {"type": "boolean"},
        "when": WHEN,
    },
}
CONDITIONAL: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {"options": OPTIONS, "when": WHEN},
}
DOMAIN: dict[str, Any] = {"anyOf": [VALUE, OPTIONS, RANGE, CONDITIONAL]}
SCHEDULE: dict[str, Any] = {
    "type": "object",
    "required": ["start", "end"],
    "additionalProperties": False,
    "properties": {part: {"$ref": "#/$defs/domain"} for part in PARTS},
}


def space_schema(catalog: Catalog) -> dict[str, Any]:
    """Return the JSON schema of a search space file.

    Args:
        catalog: The techniques that a space may offer.
    """
    recipe = Recipe.json_schema()
    named = {name: [info for info in catalog.values() if info.component == name] for name in COMPONENTS}
    optional = [info for info in catalog.values() if not info.component]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "autoaccel search space",
        "type": "object",
        "additionalProperties": False,
        "$defs": {**recipe.pop("$defs"), "recipe": recipe, "domain": DOMAIN, "schedule": SCHEDULE},
        "properties": {
            "schema": {"enum": list(READABLE)},
            "name": {"type": "string"},
            "description": {"type": "string"},
            "extends": {"type": "string"},
            **{name: _object({info.name: _technique(info) for info in infos}) for name, infos in named.items()},
            "techniques": _object({info.name: _optional(info) for info in optional}),
            "portfolio": {"type": "object", "additionalProperties": {"$ref": "#/$defs/recipe"}},
        },
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _technique(info: TechniqueInfo) -> dict[str, Any]:
    parameters = {name: _parameter(parameter) for name, parameter in info.parameters.items()}
    return {**_object(parameters), "type": ["object", "null"], "description": info.summary}


def _optional(info: TechniqueInfo) -> dict[str, Any]:
    """An optional technique may also be always on (true or `required`) or never (false)."""
    given = _technique(info)
    given["properties"]["required"] = {"type": "boolean"}
    return {"anyOf": [{"type": "boolean"}, given], "description": given.pop("description")}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    # The word `auto`, for the range that the technique declares, is a scalar too.
    kinds = ("domain", "schedule") if parameter.scheduled else ("domain",)
    return {"anyOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds]}
