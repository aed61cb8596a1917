"""Convert the files of schema 1 run folders to schema 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def upgraded(kind: str, data: Any) -> Any:
    """Return the data of a log entry in the current schema.

    Args:
        kind: The kind of entry, such as `start`.
        data: The data as read from the log.
    """
    match kind:
        case "start" if "request" not in data:
            return {"request": _renamed(data, {"landing": "finalization"})}
        case "profiled" if "slots" in data:
            return {"facts": _facts(data["facts"]), "workers": data["slots"]}
        case "reported" if "report" not in data:
            return {"report": report(data)}
        case "finished" if (final := data["outcome"]["final"]) and "noise" in final:
            return {**data, "outcome": {**data["outcome"], "final": report(final)}}
        case "interrupted" | "tick":
            return {}
        case _:
            return data


def upgraded_result(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of `result.json` in the words of schema 2."""
    if data.get("schema") != 1:
        return dict(data)
    return {key: part if key == "recipe" else _scores_renamed(part) for key, part in data.items()}


def _scores_renamed(data: Any) -> Any:
    if isinstance(data, Mapping):
        names = {"noise": "standard_error"} if "loss" in data or "gain" in data else {}
        return {names.get(key, key): _scores_renamed(part) for key, part in data.items()}
    return [_scores_renamed(part) for part in data] if isinstance(data, list) else data


def report(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an evaluation: its standard error was called `noise`."""
    return _renamed(data, {"noise": "standard_error"})


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the facts of a task: each cost was a separate number."""
    costs = {
        "train": {"seconds": data["train_seconds"], "flops": data["train_flops"]},
        "evaluation": {"seconds": data["valid_seconds"], "flops": data["valid_flops"]},
        "setup": {"seconds": data["setup_seconds"]},
        "profile": {"seconds": data["profile_seconds"], "flops": data["profile_flops"]},
    }
    kept = {key: part for key, part in data.items() if not key.endswith(("_seconds", "_flops"))}
    return {**_renamed(kept, {"traits": "capabilities"}), **costs}


def _renamed(data: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): part for key, part in data.items()}
