"""What a run delivers: weights, recipe and result, which always speak of the same trial.

Three files cannot be replaced at once. So the new ones are first written beside the old ones, `result.json` last;
from then on they count, and are renamed. Who opens the folder after a crash finishes the renames (`settle`), who
only reads looks at the new names first (`current`). The result carries the SHA-256 of the weights, so that damaged
or exchanged weights are noticed before they are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoaccel.core.paths import sync_folder
from autoaccel.errors import StoreError
from autoaccel.storage.files import copy_atomically, guarded, sha256, write_atomically
from autoaccel.storage.json_files import json_text, read_result

WEIGHTS = "model.safetensors"
RECIPE = "recipe.yaml"
RESULT = "result.json"
"""Written last: from then on the delivery counts."""
FILES = (WEIGHTS, RECIPE, RESULT)


def deliver(
    folder: Path, data: Mapping[str, Any], recipe: str, trial: int, weights: Path | None = None
) -> dict[str, Any]:
    """Replace what is delivered; return the contents of `result.json`.

    Args:
        folder: The run folder, in which nobody else writes.
        data: The contents of `result.json`; without `weights`, which hold the checksum, if that is to be found out.
        recipe: The contents of `recipe.yaml`.
        trial: The trial that is delivered.
        weights: Its weights; None if those that lie there stay.

    Raises:
        StoreError: If a file cannot be written; what was delivered before then still counts.
    """
    try:
        if weights is not None:
            digest = copy_atomically(weights, _next(folder, WEIGHTS))
            stored: Any = {"trial": trial, "sha256": digest, "bytes": weights.stat().st_size}
        else:
            stored = data["weights"] if "weights" in data else _own(folder, trial)
        data = {**data, "weights": stored}
        write_atomically(_next(folder, RECIPE), recipe)
        write_atomically(_next(folder, RESULT), json_text(data, indent=2) + "\n")
    except BaseException:
        settle(folder)
        raise
    settle(folder)
    return data


def settle(folder: Path) -> bool:
    """Finish a delivery that a crash has cut off, or clear it away if it did not count yet.

    Returns:
        Whether one was finished.
    """
    counts = _next(folder, RESULT).exists()

    def write() -> None:
        for name in FILES:
            if counts:
                with suppress(FileNotFoundError):
                    _next(folder, name).replace(folder / name)
            else:
                _next(folder, name).unlink(missing_ok=True)
        if counts:
            sync_folder(folder)

    guarded(folder, write, 0)
    return counts


def current(folder: Path, name: str) -> Path:
    """Return where a delivered file lies, also where a crash has cut off the delivery."""
    pending = _next(folder, name)
    return pending if _next(folder, RESULT).exists() and pending.exists() else folder / name


def is_cut_off(folder: Path) -> bool:
    """Return whether a crash has cut off a delivery that counts."""
    return _next(folder, RESULT).exists()


def check_weights(path: Path, digest: str | None) -> None:
    """Check weights before they are loaded.

    Args:
        path: The file.
        digest: Its SHA-256 by the result; None for those of an older version, which has none.

    Raises:
        StoreError: If the file is missing, or not the one that was delivered.
    """
    if not path.is_file():
        raise StoreError(f"{path}: the weights are not there")
    if digest is not None and sha256(path) != digest:
        raise StoreError(
            f"{path}: not the weights that were delivered (their SHA-256 differs from that in {RESULT}), "
            "so they were damaged or exchanged, and are not loaded"
        )


def _own(folder: Path, trial: int) -> Any:
    """Return what is known of the weights that lie there if they are those of a trial, else None."""
    before = read_result(folder / RESULT).get("weights")
    return before if before and before["trial"] == trial else None


def _next(folder: Path, name: str) -> Path:
    return folder / f".{name}.next"
