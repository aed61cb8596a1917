"""YAML files of recipes and search spaces: their version, and how text and single values are read."""

from __future__ import annotations

import numbers
from typing import Any

import yaml

from autoaccel.core.schedules import Scalar, Schedule, Value, is_schedule
from autoaccel.errors import UsageError

SCHEMA = 2
READABLE = (1, 2)
"""Versions of the file format that are read. A recipe is the same in both."""
LARGEST = 1_000_000
"""Characters; more is not a recipe or a search space."""


def plain_scalar(data: Any) -> Scalar:
    """Return a scalar of Python's own types: numpy's numbers cannot be written to YAML."""
    if isinstance(data, bool | str):
        return data
    return int(data) if isinstance(data, numbers.Integral) else float(data)


def read_value(data: Any) -> Value:
    """Read a parameter's value from plain data: a mapping with `start` and `end` is a schedule.

    Raises:
        ValueError: If it is neither a scalar nor a valid schedule.
    """
    if isinstance(data, Schedule):
        return data
    if is_schedule(data):
        try:
            return Schedule(**data)
        except TypeError as error:
            raise ValueError(str(error).replace("Schedule.__init__() ", "")) from None
    if isinstance(data, bool | str | numbers.Real):
        return plain_scalar(data)
    raise ValueError(f"{data!r} is neither a number, a word nor a schedule with start and end")


def load_yaml(text: str, source: str) -> object:
    """Parse YAML without running code or expanding aliases.

    Raises:
        UsageError: If the text is not valid YAML (with the line), has aliases, or is larger than 1 MB.
    """
    if len(text) > LARGEST:
        raise UsageError(f"{source}: larger than 1 MB, which is no recipe or search space")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise UsageError(f"{source}: YAML aliases (*name) are not accepted")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{source}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
