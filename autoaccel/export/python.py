"""Pieces of Python as a formatter would write them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from autoaccel.core.schedules import Schedule

WIDTH = 116


def literal(value: object) -> str:
    """A value as Python; whatever a text holds, it stays a text."""
    if isinstance(value, Schedule):
        moved = {f.name: part for f in fields(value) if (part := getattr(value, f.name)) != f.default}
        return f"Schedule({literal(moved.pop('start'))}, {literal(moved.pop('end'))}{_more(moved)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(key)}: {literal(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        parts = ", ".join(map(literal, value))
        return f"[{parts}]" if isinstance(value, list) else f"({parts}{',' * (len(value) == 1)})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    written = repr(value)
    if isinstance(value, str) and not {"'", '"'} & set(value):
        return f'"{written[1:-1]}"'
    return written


def call(function: str, arguments: Mapping[str, object], before: str = "") -> str:
    """A call with keywords, over several lines where one is too short.

    Args:
        function: What is called.
        arguments: By keyword, which must be known names: they become code.
        before: What stands before it in its line.
    """
    parts = [f"{key}={literal(value)}" for key, value in arguments.items()]
    return _fitted(f"{before}{function}(", parts, ")", 0)


def list_lines(name: str, parts: Sequence[str], indented: int) -> list[str]:
    """A list that is given a name, and filled up where one line is too short."""
    room = WIDTH - indented - len(f"{name} += []")
    first, *more = _filled(parts, room)
    return [f"{name} = [{', '.join(first)}]", *(f"{name} += [{', '.join(line)}]" for line in more)]


def method_calls(names: Sequence[str], call: str, indented: int) -> list[str]:
    """The same method of several objects, one after the other: in a loop where they are many.

    Args:
        names: The objects.
        call: The statement, in which the object is called `technique`.
        indented: Columns before the lines.
    """
    lines = []
    for few in _filled(names, WIDTH - indented - len("for technique in ():")):
        if len(few) > 2:
            lines += [f"for technique in ({', '.join(few)}):", f"    {call}"]
        else:
            lines += [call.replace("technique.", f"{name}.") for name in few]
    return lines


def from_line(module: str, names: Iterable[str]) -> str:
    """An import of names, first constants, then classes, then the rest."""
    ordered = sorted(set(names), key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from {module} import {', '.join(ordered)}"
    return line if len(line) <= WIDTH else _lines(f"from {module} import (", ordered, ")")


def with_lines(names: Sequence[str], method: str, indented: int) -> list[str]:
    """The head of a `with` statement that enters the same method of several objects; nothing without any."""
    line = f"with {', '.join(f'{name}.{method}(context)' for name in names)}:"
    if len(line) + indented <= WIDTH:
        return [line] if names else []
    entering = f"        stack.enter_context(technique.{method}(context))"
    return ["with ExitStack() as stack:", "    for technique in context.techniques:", entering]


def _filled(parts: Sequence[str], room: int) -> list[list[str]]:
    """Parts in lines of at most so many columns; at least one line."""
    lines: list[list[str]] = [[]]
    for part in parts:
        if lines[-1] and len(", ".join([*lines[-1], part])) > room:
            lines.append([])
        lines[-1].append(part)
    return lines


def _fitted(head: str, parts: Sequence[str], tail: str, indented: int) -> str:
    """In one line, else with the parts in a line of their own, else with a line for each."""
    joined = ", ".join(parts)
    if len(head) + len(joined) + len(tail) + indented <= WIDTH:
        return f"{head}{joined}{tail}"
    return f"{head}\n    {joined}\n{tail}" if len(joined) + indented + 4 <= WIDTH else _lines(head, parts, tail)


def _lines(head: str, parts: Iterable[str], tail: str) -> str:
    return "\n".join([head, *(f"    {part}," for part in parts), tail])


def _more(arguments: Mapping[str, object]) -> str:
    return "".join(f", {key}={literal(value)}" for key, value in arguments.items())
