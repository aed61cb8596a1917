"""Values of parameters as plain data: numbers, words, None, sequences of these, and schedules.

JSON and YAML know one kind of sequence, Python two, and a factory may tell them apart. So a list is written as a
list, a tuple as `{tuple: [...]}`, and both are read back as what they were.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from autoaccel.core.schedules import Option, Schedule, Value, is_schedule

AS_IT_IS = (float, int, bool, str, type(None))
"""Types of most values, which need no reading; a search draws recipes by the thousand."""
LARGEST_INTEGER = 2**63 - 1
"""The largest whole number that files, databases and tensors hold."""
TUPLE = "tuple"
"""The key that marks a mapping as a tuple."""


def plain_value(given: Any) -> Any:
    """Return a value as YAML and JSON can hold it; numpy's numbers, for one, cannot be written."""
    if isinstance(given, Schedule):
        return given.to_data()
    if given is None or isinstance(given, bool | str):
        return given
    if isinstance(given, list | tuple):
        parts = [plain_value(part) for part in given]
        return parts if isinstance(given, list) else {TUPLE: parts}
    return int(given) if isinstance(given, numbers.Integral) else float(given)


def read_value(data: Any) -> Value:
    """Read a value from plain data: a mapping with `start` and `end` is a schedule.

    Raises:
        ValueError: If it is neither an option nor a valid schedule.
    """
    if type(data) in AS_IT_IS or isinstance(data, Schedule):
        return data  # type: ignore[no-any-return]
    if is_schedule(data):
        try:
            return Schedule(**data)
        except TypeError as error:
            raise ValueError(str(error).replace("Schedule.__init__() ", "")) from None
    return read_option(data)


def read_option(data: Any) -> Option:
    """Read a number, word, None, list or tuple from plain data, or from what a user wrote in Python.

    Raises:
        ValueError: If it is none of these.
    """
    if data is None or isinstance(data, str):
        return data
    if isinstance(data, bool | numbers.Real):
        plain: Option = plain_value(data)
        return plain
    if isinstance(data, list | tuple):
        return type(data)(map(read_option, data)) if type(data) in (list, tuple) else tuple(map(read_option, data))
    if isinstance(data, Mapping) and list(data) == [TUPLE] and isinstance(data[TUPLE], list):
        return tuple(map(read_option, data[TUPLE]))
    raise ValueError(f"{data!r} is neither a number, a word, a list of these nor a schedule with start and end")


def frozen(given: Any) -> Any:
    """Return a value with tuples for lists: what is compared and hashed, since a YAML file can only hold lists."""
    return tuple(map(frozen, given)) if isinstance(given, list | tuple) else given


class Plain:
    """Tells pydantic to read and write a field in the form of this module: `Annotated[Any, Plain]`."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: Any) -> Any:
        """Return pydantic's schema."""
        from pydantic_core import core_schema

        written = core_schema.plain_serializer_function_ser_schema(plain_value)
        return core_schema.no_info_plain_validator_function(read_value, serialization=written)
