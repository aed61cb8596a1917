"""The JSON files of a run folder, checked once where they are read: other code may rely on what is in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoaccel.core.codec import from_data
from autoaccel.core.quantities import known
from autoaccel.errors import StoreError
from autoaccel.storage.upgrade import upgraded_result

Data = dict[str, Any]
RESULT_HAS = ("status", "headline", "metric", "recipe")
DEEPEST = 100
"""Levels of lists and objects; ours have about ten."""


def read_object(path: Path) -> Data:
    """Return the object in a JSON file; empty if there is no file.

    Raises:
        StoreError: If it cannot be read, is no JSON, or holds something else than an object.
    """
    try:
        data = json.loads(path.read_bytes()) if path.exists() else {}
        _check_depth(data, DEEPEST)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise _damaged(path, f"nested deeper than {DEEPEST} levels") from None
    except ValueError as error:
        raise _damaged(path, f"no JSON: {error}") from None
    if not isinstance(data, dict):
        raise _damaged(path, f"holds a {type(data).__name__}, where an object is expected")
    return data


def read_config(folder: Path) -> Data:
    """Return what a run was started with; see `read_object`."""
    return _checked(folder / "config.json", "Config")


def read_seconds(folder: Path) -> float:
    """Return the seconds that a run has spent, as far as its account knows; see `read_object`."""
    return float(_checked(folder / "account.json", "Account").get("seconds", 0.0))


def read_result(path: Path) -> Data:
    """Return the content of a `result.json` in the present schema; see `read_object`."""
    found = _checked(path, "Result", upgraded_result)
    if found and (missing := [name for name in RESULT_HAS if name not in found]):
        raise _damaged(path, f"no result: {', '.join(missing)} missing")
    return found


def _checked(path: Path, kind: str, change: Callable[[Data], Data] = lambda data: data) -> Data:
    data = read_object(path)
    if not data:
        return {}
    # Imported here: a new run has nothing to read, and pydantic takes 0.06 s, which torch's import cannot spare.
    from autoaccel.storage import schemas

    try:
        found: Data = from_data(getattr(schemas, kind), change(data))
    except ValueError as error:
        raise _damaged(path, _fault(error)) from None
    return found


def _damaged(path: Path, fault: str) -> StoreError:
    last = path.name == "config.json"
    advice = "a run cannot go on without it" if last else f"`autoaccel repair {path.parent}` writes it anew"
    return StoreError(f"{path}: {fault}; {advice}")


def json_text(data: Any, indent: int | None = None) -> str:
    """Return data as JSON that every parser reads: a number that is not finite becomes null."""
    return json.dumps(_nulled(data), indent=indent, default=str, allow_nan=False)


def _nulled(data: Any) -> Any:
    if isinstance(data, float):
        return known(data)
    if isinstance(data, Mapping):
        return {key: _nulled(part) for key, part in data.items()}
    return [_nulled(part) for part in data] if isinstance(data, list | tuple) else data


def _check_depth(data: Any, left: int) -> None:
    if left == 0:
        raise RecursionError
    for part in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        _check_depth(part, left - 1)


def _fault(error: ValueError) -> str:
    """Return pydantic's first fault in one line."""
    faults: list[Data] = getattr(error, "errors", list)()
    if not faults:
        return " ".join(str(error).split())
    given = repr(faults[0]["input"])
    short = given if len(given) <= 40 else f"{given[:37]}..."
    return f"{'.'.join(map(str, faults[0]['loc']))}: {faults[0]['msg']}, got {short}"
