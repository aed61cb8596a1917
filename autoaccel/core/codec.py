"""Convert values to plain data and back, for messages between processes, logs and YAML files.

The values are frozen standard-library dataclasses; pydantic validates them by their annotations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


def to_data(value: Any) -> Any:
    """Convert a value to plain data for JSON or YAML: dicts, lists, numbers and strings."""
    return _adapter(type(value)).dump_python(value, mode="json")


def from_data(kind: type[T], data: object) -> T:
    """Convert plain data to a value; the inverse of `to_data`.

    Args:
        kind: A dataclass, or any other type that pydantic supports.
        data: Plain data.

    Raises:
        ValueError: If the data are not valid, with all faults and their paths.
    """
    made: T = _adapter(kind).validate_python(data)
    return made


def prepare(*kinds: type) -> None:
    """Build the pydantic adapters now (0.05 s), so that workers forked later need not."""
    for kind in kinds:
        _adapter(kind)


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    # Imported here: it takes 0.06 s, which the supervisor has to spare while torch is imported elsewhere.
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
