"""What the nodes need of this machine: the task's folder, what was understood of it, and files of other trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import ray

from autoaccel.core import checkpoints
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef, module_of, split_target
from autoaccel.core.trial import TrialRequest
from autoaccel.execution.base import UNDERSTOOD
from autoaccel.execution.ray.cluster import LOCAL
from autoaccel.execution.ray.files import read, trial_folder
from autoaccel.execution.ray.host import SENT_WEIGHTS, versions
from autoaccel.execution.ray.layout import Layout
from autoaccel.execution.ray.messages import Told
from autoaccel.storage.delivery import WEIGHTS

PICKLED = "task.pickle"
NOT_SENT = [".git", "__pycache__", ".venv"]
RUNS = "runs"
"""The folder for run folders that are given no name."""


class Shipping:
    """Puts files into the object store, each once as long as it is needed again and again.

    Args:
        task: A reference to the user's task.
        folder: The run folder.
    """

    def __init__(self, task: TaskRef, folder: Path):
        self._task, self._folder, self._cwd = task, folder, Path.cwd()
        self._target = _whole(task.target)
        self._root = ""
        self._kept: dict[str, Any] = {}
        self._weights: tuple[tuple[Path, int, int], Any] | None = None

    def runtime_env(self, address: str) -> dict[str, Any]:
        """Return what processes of the cluster get to run with: the folder of the task.

        A cluster on this machine reads the folder itself.
        """
        root = None if address == LOCAL or self._task.pickled else _root(self._target, self._cwd)
        if root is None:
            return {}
        self._root = str(root)
        return {"working_dir": self._root, "excludes": [*NOT_SENT, *self._runs(root)]}

    def told(self, resources: Resources, layout: Layout, size: int, limit: float | None) -> Told:
        """Return what a place for so many trials is told at its beginning."""
        pickled = PICKLED if self._task.pickled else ""
        paths = {UNDERSTOOD: self._folder / UNDERSTOOD, **({pickled: Path(self._task.pickled)} if pickled else {})}
        for name, path in paths.items():
            if name not in self._kept and path.is_file():
                self._kept[name] = ray.put(read(path))
        return Told(
            target=self._target,
            root=self._root,
            cwd=str(self._cwd),
            folder=str(self._folder),
            resources=resources,
            size=size,
            threads=layout.threads,
            most=min(layout.most, layout.threads * size),
            gpus=layout.gpus * size,
            limit=limit,
            versions=versions(),
            files=dict(self._kept),
            pickled=pickled,
        )

    def understood(self) -> Mapping[str, Any]:
        """Return, for all places, what the profile has just understood."""
        self._kept[UNDERSTOOD] = ray.put(read(self._folder / UNDERSTOOD))
        return {UNDERSTOOD: self._kept[UNDERSTOOD]}

    def needed(self, request: TrialRequest) -> tuple[TrialRequest, Mapping[str, Any]]:
        """Return a request as a place can carry it out, and references to the files that it needs, by their paths.

        The paths are relative: in the run folder here, and in the folder of the place there.
        """
        files, reference = {}, request.reference
        if request.resumes is not None:
            home = trial_folder(self._folder, request.resumes)
            for found in checkpoints.checkpoints(home):
                for path in found.path.iterdir():
                    files[path.relative_to(self._folder).as_posix()] = ray.put(read(path))
        if reference is not None:
            own = trial_folder(self._folder, reference.trial) / WEIGHTS
            path = Path(reference.weights) if reference.weights else own
            name = SENT_WEIGHTS if reference.weights else path.relative_to(self._folder).as_posix()
            if path.is_file():
                files[name] = self.weights(path)
            if reference.weights:
                request = replace(request, reference=replace(reference, weights=name))
        return request, files

    def weights(self, path: Path) -> Any:
        """Return a reference to weights, of which the last ones are kept in the object store."""
        status = path.stat()
        key = path, status.st_mtime_ns, status.st_size
        if self._weights is None or self._weights[0] != key:
            self._weights = key, ray.put(read(path))
        return self._weights[1]

    def _runs(self, root: Path) -> list[str]:
        """Return the patterns of run folders in what is sent."""
        folder = self._folder.parent if self._folder.parent.name == RUNS else self._folder
        return [f"/{folder.relative_to(root).as_posix()}"] if folder.is_relative_to(root) else []


def _whole(target: str) -> str:
    """Return a target whose file is named by its whole path."""
    location, name = split_target(target)
    if not location.endswith(".py"):
        return target
    path = str(Path(location).resolve())
    return f"{path}:{name}" if name else path


def _root(target: str, cwd: Path) -> Path | None:
    """Return the folder that a target is imported from; None if it is installed."""
    location, _ = split_target(target)
    if location.endswith(".py"):
        return module_of(Path(location))[0]
    found = PathFinder.find_spec(location.partition(".")[0], [str(cwd)])
    return cwd if found is not None else None
