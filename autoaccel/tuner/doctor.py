"""What `autoaccel doctor` finds out: whether this machine, installation and disk will do."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from autoaccel.errors import AutoaccelError
from autoaccel.storage.files import sha256, write_atomically
from autoaccel.storage.space import DISK_FLOOR, MEMORY_FLOOR, MIB, free_disk, free_memory

PACKAGES = ("autoaccel", "torch", "accelerate", "optuna", "scikit-learn", "safetensors", "pydantic")
EXTRAS: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        "image": (("kornia",), "more augmentations of images"),
        "text": (("transformers",), "models and tokenizers of Hugging Face, and their own losses"),
        "optim": (("pytorch_optimizer", "schedulefree"), "more optimizers, such as schedule-free ones"),
        "slurm": (("submitit",), "tune --executor slurm"),
        "ray": (("ray",), "tune --executor ray"),
        "compress": (("torch-pruning",), "smaller models by structured pruning"),
        "lowbit": (("torchao",), "quantized weights and 8-bit optimizers"),
        "pandas": (("pandas",), "DataFrames as data and as leaderboard"),
    }
)
"""Extras by name: the packages of each, and what they add."""


def examine(folder: Path) -> dict[str, Any]:
    """Examine the machine, the installation and the disk of a folder; leaves nothing behind.

    Returns:
        Plain data: `hardware`, `versions`, `room` (bytes of disk and memory, each with its floor), `checks` (by
        name, None or what went wrong), `extras` (whether installed, and what they add), and `ok`.
    """
    checks = {"write, fsync and rename": _tried(_write, folder), "SQLite and Optuna": _tried(_study, folder)}
    room = {
        "disk": {"free": free_disk(folder), "floor": DISK_FLOOR},
        "memory": {"free": free_memory(), "floor": MEMORY_FLOOR},
    }
    return {
        "folder": str(folder.resolve()),
        "hardware": _hardware(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "room": room,
        "checks": checks,
        "extras": {
            name: {"installed": all(map(_version, packages)), "adds": adds}
            for name, (packages, adds) in EXTRAS.items()
        },
        "ok": not any(checks.values()) and all(each["free"] >= each["floor"] for each in room.values()),
    }


def doctor_lines(data: Mapping[str, Any]) -> list[str]:
    """Return what was found, as lines of text."""
    hardware = data["hardware"]
    gpus = ", ".join(f"{each['name']} ({each['bytes'] / 2**30:.0f} GiB)" for each in hardware["gpus"])
    return [
        f"machine:  {hardware['cores']} cores for this process, {hardware['memory'] / 2**30:.1f} GiB of memory, "
        f"GPUs: {gpus or 'none that torch sees'}",
        f"system:   {hardware['system']}",
        "versions: " + ", ".join(f"{name} {found or 'MISSING'}" for name, found in data["versions"].items()),
        *(_room_line(name, each) for name, each in data["room"].items()),
        *(f"{'ok' if fault is None else 'FAILED':9} {name}{f': {fault}' if fault else ''}"
          for name, fault in data["checks"].items()),
        "extras:",
        *_extra_lines(data["extras"]),
        "nothing is wrong" if data["ok"] else f"something is wrong in {data['folder']}, see above",
    ]  # fmt: skip


def _room_line(name: str, each: Mapping[str, int]) -> str:
    low = "" if each["free"] >= each["floor"] else "TOO LITTLE, "
    floor = f"below {each['floor'] / MIB:,.0f} MiB no new trial starts"
    return f"{name + ':':9} {each['free'] / MIB:,.0f} MiB free; {low}{floor}"


def _extra_lines(extras: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    return [
        f"  {name:9} {'installed' if each['installed'] else 'missing  '}  {each['adds']}"
        + ("" if each["installed"] else f" (pip install 'autoaccel[{name}]')")
        for name, each in extras.items()
    ]


def _hardware() -> dict[str, Any]:
    from autoaccel.execution.machine import find_machine  # it imports torch

    machine = find_machine()
    return {
        "system": platform.platform(),
        "cores": machine.cpus,
        "memory": psutil.virtual_memory().total,
        "gpus": [{"name": gpu.model, "bytes": gpu.memory} for gpu in machine.gpus],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _tried(check: Callable[[Path], None], folder: Path) -> str | None:
    """Return what went wrong with a check in a folder of its own, which is gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(prefix=".autoaccel-doctor-", dir=folder) as name:
            check(Path(name))
    except Exception as error:  # whatever the disk, SQLite or Optuna raise is the finding
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def _write(folder: Path) -> None:
    path = folder / "file"
    for content in (b"old", os.urandom(MIB)):
        write_atomically(path, content)
        if path.read_bytes() != content:
            raise AutoaccelError("what was written is not what is read")
    sha256(path)


def _study(folder: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    address = f"sqlite:///{folder / 'study.db'}"
    optuna.create_study(storage=address, study_name="doctor").add_trial(optuna.trial.create_trial(value=1.0))
    if optuna.load_study(storage=address, study_name="doctor").best_value != 1.0:
        raise sqlite3.DatabaseError("what was stored is not what is read")
