"""Hosts a supervisor on a node: loads the task there, and runs trials for the driver."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autoaccel import __version__
from autoaccel.core import checkpoints
from autoaccel.core.clock import SystemClock
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.events import Finished, Reported
from autoaccel.core.machine import models
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import OPENMP
from autoaccel.core.target import TaskRef, split_target
from autoaccel.core.trial import TrialRequest
from autoaccel.errors import MachineError, TaskError, UsageError
from autoaccel.execution.base import UNDERSTOOD
from autoaccel.execution.local.supervisor import Supervisor
from autoaccel.execution.ray.files import Bytes, packed, read, trial_folder, unpack
from autoaccel.execution.ray.messages import Said, Told, error_data

SLICE = 0.02
"""Seconds after which a place looks for commands while a trial runs."""
SENT_WEIGHTS = "weights.safetensors"
"""Where in the folder of a place weights are that do not belong to a trial of the run."""
OUTPUT = ("import.txt", "profile.txt")
"""The output of the user's file and of measurements."""


def versions() -> dict[str, str]:
    """Return what must be the same on all nodes, so that trials are alike; builds of torch may differ."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"Python": python, "autoaccel": __version__, "torch": version("torch").partition("+")[0]}


class Host:
    """A supervisor, and what surrounds it on this node.

    Args:
        told: What the driver has told.
        home: The folder for the supervisor.
        files: The files that the place needs, by path in `home`.
        say: Called with what is to be said to the driver.
    """

    def __init__(self, told: Told, home: Path, files: Mapping[str, Bytes], say: Callable[[Said], None]):
        self._told, self._home, self._say_now = told, home, say
        self._here = Path.cwd()
        self._running: dict[int, set[Path]] = {}
        """The folders of each trial: its own, and those of the trials that it learns from or goes on with."""
        self.closed = False
        _same_versions(told.versions)
        unpack(home, files)
        os.environ[OPENMP] = str(told.most)  # Ray sets it too, and the supervisor never uses more
        os.chdir(self._working_directory())
        # Without GPUs of its own, a place must not use those of others; its own are counted in `load`.
        workers = None if told.gpus else told.size
        resources = replace(told.resources, workers=workers, cpu=not told.gpus, devices=())
        pickled = str(home / told.pickled) if told.pickled else ""
        self._supervisor = Supervisor(TaskRef(self._target(), pickled), resources, SystemClock(), home)

    def load(self) -> None:
        """Load the task and say so.

        Raises:
            TaskError: If it cannot be loaded.
            UsageError: If that took too long.
            MachineError: If the GPUs are not those that Ray has given.
        """
        supervisor = self._supervisor
        catalog = supervisor.load(self._told.limit)
        found = supervisor.machine.gpus
        if len(found) != self._told.gpus:
            seen = models(found) or "no GPU"
            raise MachineError(f"Ray has given {self._told.gpus} GPUs to a place where torch finds {seen}")
        # As many for each trial as are reserved for it: the node may have more.
        supervisor.slots = replace(supervisor.slots, threads=self._told.threads)
        self._say("ready", {"gpus": to_data(list(found)), "catalog": [to_data(info) for info in catalog.values()]})

    def do(self, word: str, *given: Any) -> None:
        """Carry out a command of the driver."""
        match word:
            case "start":
                self._start(*given)
            case "measure":
                self._measure(*given)
            case "keep":
                unpack(self._home, *given)
            case "fetch":
                self._fetch(*given)
            case "close":
                self.closed = True
            case "proceed" | "stop" | "preempt" | "finish_early":
                getattr(self._supervisor, word)(*given)

    @property
    def patience(self) -> float:
        """Seconds for which commands may be waited for before `look` is called."""
        return 0.0 if self._running else 1.0

    def look(self) -> None:
        """Take in what the supervisor has to say.

        Raises:
            MachineError: If the process that starts the trials was lost too often.
        """
        for event in self._supervisor.poll(SLICE if self._running else 0.0):
            if isinstance(event, Reported):
                self._say("event", {"report": to_data(event.report)})
            elif isinstance(event, Finished):
                ended = {"trial": event.trial, "outcome": to_data(event.outcome)}
                self._say("event", ended, packed(self._home, [self._supervisor.trial_folder(event.trial)]))
                self._forget(event.trial)

    def fail(self, error: BaseException) -> None:
        """Say that this place ends because of an error."""
        self._say("failed", error_data(error), self._output())

    def close(self) -> None:
        """End everything that is still running."""
        self._supervisor.close()

    def _start(self, data: Mapping[str, Any], files: Mapping[str, Bytes]) -> None:
        unpack(self._home, files)
        request = from_data(TrialRequest, data)
        own = self._supervisor.trial_folder(request.trial)
        others = {self._home / Path(*Path(name).parts[:2]) for name in files if name != SENT_WEIGHTS}
        self._running[request.trial] = {own, *others}
        if (reference := request.reference) and reference.weights:
            reference = replace(reference, weights=str(self._home / reference.weights))
        self._supervisor.start(replace(request, reference=reference))

    def _forget(self, trial: int) -> None:
        """Delete what no other trial needs of the folders of one that has ended."""
        for folder in self._running.pop(trial).difference(*self._running.values()):
            shutil.rmtree(folder, ignore_errors=True)

    def _fetch(self, trial: int, newest: str) -> None:
        """Send the newest checkpoint of a trial, unless the driver has it."""
        files, folder = {}, trial_folder(self._home, trial)
        found = next(iter(checkpoints.checkpoints(folder)), None)
        if trial in self._running and found and found.path.name > newest:
            with suppress(OSError, MemoryError):  # most likely there is a newer one meanwhile
                # Without the second file the first one is nothing.
                paths = found.state, found.path / checkpoints.MANIFEST
                files = {path.relative_to(self._home).as_posix(): read(path) for path in paths}
        self._say("fetched", {"trial": trial}, files)

    def _measure(
        self, name: str, limit: float | None, fields: Mapping[str, Any], files: Mapping[str, Bytes]
    ) -> None:
        unpack(self._home, files)
        try:
            answer = self._measured(name, limit, fields)
        except TaskError as error:
            self._say("refused", error_data(error), self._output())
            return
        understood = packed(self._home, [self._home / UNDERSTOOD]) if name == "profile" else {}
        self._say("answer", answer, {**understood, **self._output()})

    def _measured(self, name: str, limit: float | None, fields: Mapping[str, Any]) -> Any:
        supervisor = self._supervisor
        if name == "profile":
            facts, space = supervisor.profile(limit)
            return [to_data(facts), space]
        if name == "identify":
            return supervisor.identify(limit)
        return supervisor.score(Recipe.from_data(fields["recipe"]), self._home / SENT_WEIGHTS, limit)

    def _output(self) -> dict[str, Bytes]:
        return packed(self._home, [self._home / name for name in OUTPUT])

    def _say(self, kind: str, data: Any, files: Mapping[str, Bytes] | None = None) -> None:
        """Say something to the driver, with paths as they are there."""
        text = json.dumps(data)
        for ours, theirs in ((str(self._home), self._told.folder), (str(self._here), self._told.root)):
            if theirs:
                text = text.replace(json.dumps(ours)[1:-1], json.dumps(theirs)[1:-1])
        self._say_now(Said(kind, text, files or {}))

    def _target(self) -> str:
        """Return the task's target, in the folder that was sent here if it is a file."""
        location, name = split_target(self._told.target)
        if not self._told.root or not location.endswith(".py"):
            return self._told.target
        path = str(self._here / Path(location).relative_to(self._told.root))
        return f"{path}:{name}" if name else path

    def _working_directory(self) -> Path:
        """Return where relative paths begin, so that they mean the same as on the driver's machine, or nothing.

        If the driver's own is not in what was sent here, it is an empty folder, with what was sent below it.
        """
        root, cwd = Path(self._told.root), Path(self._told.cwd)
        if not self._told.root:
            return cwd if cwd.is_dir() else self._here
        if cwd.is_relative_to(root):
            return self._here / cwd.relative_to(root)
        folder = self._home / "working_directory"
        folder.mkdir()
        if root.is_relative_to(cwd):
            link = folder / root.relative_to(cwd)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self._here)
        return folder


def _same_versions(theirs: Mapping[str, str]) -> None:
    for name, own in versions().items():
        if own != theirs[name]:
            raise UsageError(f"this node has {name} {own}, and the driver {theirs[name]}; install the same on all")
