"""YAML files of recipes and search spaces: their version, and how their text is read."""

from __future__ import annotations

import yaml

from autoaccel.errors import UsageError

SCHEMA = 2
READABLE = (1, 2)
"""Versions of the file format that are read. A recipe is the same in both."""
LARGEST = 1_000_000
"""Characters; more is not a recipe or a search space."""


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
