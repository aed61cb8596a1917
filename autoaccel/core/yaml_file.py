"""YAML files of recipes and search spaces: their version, and how their text is read. JSON is YAML too.

Files may come from strangers. What is read is plain data and nothing else: mappings with words as keys, lists,
numbers, words, true, false and null. What YAML 1.1 would make of a text that is not obviously a number, such as 90
of `1:30`, 8 of `010` or a date of `2024-01-01`, stays a text, which the schema then refuses and shows.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from autoaccel.core.values import LARGEST_INTEGER
from autoaccel.errors import UsageError

SCHEMA = 2
READABLE = (1, 2)
"""Versions of the file format that are read. A recipe is the same in both."""
LARGEST = 200_000
"""Bytes; more is not a recipe or a search space. As much takes the parser a few seconds."""
DEEPEST = 20
"""Mappings and lists inside each other."""
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
"""As in YAML 1.2, where `1e-3` is a number too; `010` is none."""
_TAG = "tag:yaml.org,2002:"


def load_yaml(text: str, source: str) -> object:
    """Parse YAML or JSON into plain data, in bounded time.

    Raises:
        UsageError: In one line with the file and the line, if the text is not valid YAML, is larger or nested
            deeper than accepted, or has aliases, tags, a key twice, or a key that is not a word.
    """
    if len(text) > LARGEST:
        raise _too_large(source)
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.reader.ReaderError as error:
        place = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{source}:{place}: not valid YAML: the character {chr(error.character)!a}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        what = "" if isinstance(error, _RefusedError) else "not valid YAML: "
        problem = " ".join(str(error.problem).removeprefix("but ").split())
        raise UsageError(f"{source}{line}: {what}{problem}") from None
    except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF"
        line = f":{loader.line + 1}" if loader else ""
        raise UsageError(f"{source}{line}: not valid YAML: there is no such character") from None


def read_text(path: Path, source: str) -> str:
    """Return the text of a YAML or JSON file.

    Raises:
        UsageError: If it cannot be read, is larger than accepted or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{source!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > LARGEST:
        raise _too_large(source)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{source}:{line}: not UTF-8: the byte 0x{data[error.start]:02x}") from None


def dump_yaml(data: object) -> str:
    """Return plain data as YAML that this and other readers understand alike: texts like numbers are quoted."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False)
    return text


def _too_large(source: str) -> UsageError:
    return UsageError(f"{source}: larger than {LARGEST // 1000} kB, which is no recipe or search space")


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that no recipe or search space needs."""


class _Loader(yaml.SafeLoader):
    """Refuses while it reads, so that nothing hostile is ever built; numbers as in YAML 1.2."""

    # Of what YAML 1.1 recognizes, words for true, false and null are kept.
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag in (f"{_TAG}bool", f"{_TAG}null")]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._refuse("anchors and aliases (&name, *name) are not accepted", event)
        if event.tag is not None:
            self._refuse(f"tags ({event.tag}) are not accepted", event)
        if self.depth > DEEPEST:
            self._refuse(f"more than {DEEPEST} mappings and lists inside each other", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            scalar = isinstance(key, yaml.ScalarNode)
            if not scalar or key.tag != f"{_TAG}str" or not key.value.isprintable():
                shown = ascii(key.value) if scalar else f"that is a {key.id}"
                self._refuse(f"the key {shown} is not a word; words may be quoted", key)
            if key.value in lines:
                self._refuse(f"the key {key.value!r} is there twice, first in line {lines[key.value]}", key)
            lines[key.value] = key.start_mark.line + 1
        return {self.construct_scalar(key): self.construct_object(part, deep) for key, part in node.value}

    def construct_scalar(self, node: Any) -> Any:
        if any("\ud800" <= each <= "\udfff" for each in node.value):
            self._refuse("a part of a surrogate pair is no character", node)
        return super().construct_scalar(node)

    def construct_integer(self, node: Any) -> int:
        # Checked by length first: Python takes long, and then refuses, to read thousands of digits.
        if len(node.value) > 20 or abs(int(node.value)) > LARGEST_INTEGER:
            self._refuse(f"{node.value:.20} is too large for a whole number; the largest is 2^63 - 1", node)
        return int(node.value)

    def construct_float(self, node: Any) -> float:
        value = float(node.value.replace(".inf", "inf").replace(".nan", "nan"))
        if math.isinf(value) and "inf" not in node.value:
            self._refuse(f"{node.value:.20} is too large for a number", node)
        return value

    def _refuse(self, problem: str, where: Any) -> None:
        raise _RefusedError(problem=problem, problem_mark=where.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or `_Loader` would read as a number or a date."""


for _kind, _pattern in (("int", _INTEGER), ("float", _FLOAT)):
    _whole = re.compile(f"^(?:{_pattern.pattern})$")
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_kind}", _whole, list("-+.0123456789"))
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_integer)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_float)
