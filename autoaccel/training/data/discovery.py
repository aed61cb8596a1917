"""Find the user's task: `model.py`, `model.py:name` or `package.module:name`. Runs only in a child process."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset

from autoaccel.core.target import module_of, split_target
from autoaccel.errors import TaskError
from autoaccel.training.data.task import Task


def load_target(target: str) -> Any:
    """Import the user's code and return its `Task`, or the function that makes one.

    Raises:
        TaskError: If the file is missing or broken, or holds no task; with the user's file and line.
    """
    location, name = split_target(target)
    module = _from_file(Path(location)) if location.endswith(".py") else _from_package(location)
    return find_task(module, name, location)


def find_task(module: ModuleType, name: str, location: str) -> Any:
    """Return the task of a module: the one named, or else `task`, or else its only `Task`.

    Raises:
        TaskError: If there is no such task; the message says what was looked for.
    """
    if name:
        if not hasattr(module, name):
            raise TaskError(f"{location} has no {name!r}")
        return getattr(module, name)
    found = getattr(module, "task", None)
    if isinstance(found, Task) or callable(found):
        return found
    tasks = [value for value in vars(module).values() if isinstance(value, Task)]
    if len(tasks) == 1:
        return tasks[0]
    many = f"{len(tasks)} tasks" if tasks else "no task"
    looked = "`task = Task(...)`, `def task() -> Task`, or one Task under any name"
    raise TaskError(f"{many} found in {location}; looked for {looked}; name one as {location}:NAME")


def resolve(target: Any) -> Task:
    """Return the task itself, calling the user's function if the target is one.

    Raises:
        TaskError: If the result is not a `Task`.
    """
    if isinstance(target, Task):
        return target
    if not callable(target):
        raise TaskError(f"expected a Task or a function that returns one, got {type(target).__name__}")
    task = target()
    if not isinstance(task, Task):
        raise TaskError(f"the function must return a Task, it returned {type(task).__name__}")
    return task


@contextmanager
def user_code(script: str) -> Iterator[None]:
    """Run the user's code as a script without arguments, and take back what would break a training.

    Whether gradients are computed and where tensors are made is ours to say. The default dtype stays as the file
    sets it, since the user's factory counts on it.

    Args:
        script: What `sys.argv` shows as the script.
    """
    arguments, device = sys.argv, torch.get_default_device()
    sys.argv = [script]
    try:
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            yield
    finally:
        sys.argv = arguments
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)


def with_data(target: Any, seed: int) -> Task:
    """Return the task with its data: the functions that make them, and the task itself, are called.

    Args:
        target: A `Task`, or a function that returns one.
        seed: Functions that draw random numbers yield the same data in every process of a run.

    Raises:
        TaskError: If the target is no task, or a function raises; with the user's line.
    """
    if isinstance(target, Task) and not _functions(target):
        return target
    # Not the seed itself: what the file drew when it was imported would be drawn again.
    set_seed(seed + 1)
    where = getattr(target, "where", None)
    try:
        with user_code(sys.argv[0]):
            task = resolve(target)
            where = task.where
            made = replace(task, **{name: function() for name, function in _functions(task).items()})
    except TaskError as error:
        raise error if error.where else TaskError(error.message, where) from error
    except Exception as error:
        raise TaskError(f"{type(error).__name__}: {error}", user_line(error) or where) from error
    object.__setattr__(made, "where", where)  # a copy has the line of its own making
    return made


def _functions(task: Task) -> dict[str, Callable[[], Any]]:
    """Return the parts of a task's data that are functions."""
    parts = {name: getattr(task, name) for name in ("train", "valid", "test")}
    return {n: p for n, p in parts.items() if callable(p) and not isinstance(p, Dataset | DataLoader)}


def user_line(error: BaseException) -> str:
    """Return `file:line` of the innermost frame in the user's own code, or an empty string."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    paths = sysconfig.get_paths()
    others = (str(Path(__file__).resolve().parents[2]), paths["stdlib"], paths["purelib"], paths["platlib"], "<")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(others)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TaskError(f"{path}: no such file")
    path = path.resolve()
    folder, name = module_of(path)
    _search_first(folder)
    if folder != path.parent:
        # In a package a file's neighbors are found too, as where it is run as a script, but hide nothing.
        sys.path.append(str(path.parent))
        _forget_package(name, path)
        return _import_user_code(lambda: importlib.import_module(name), str(path))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # Register it before running it, as an import does: dataclasses and pickles in the file look it up.
    sys.modules[name] = module
    loader = spec.loader

    def load() -> ModuleType:
        loader.exec_module(module)
        return module

    return _import_user_code(load, str(path))


def _from_package(name: str) -> ModuleType:
    _search_first(Path.cwd())
    return _import_user_code(lambda: importlib.import_module(name), name)


def _search_first(folder: Path) -> None:
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))


def _forget_package(name: str, path: Path) -> None:
    """Make the next import run the file, and not return a module of an earlier import or another folder."""
    top = name.partition(".")[0]
    loaded = getattr(sys.modules.get(top), "__file__", None)
    moved = loaded is not None and Path(loaded).resolve().parent not in path.parents
    for each in list(sys.modules):
        if each == name or (moved and each.partition(".")[0] == top):
            del sys.modules[each]


def _import_user_code(load: Callable[[], ModuleType], location: str) -> ModuleType:
    try:
        with user_code(location):
            return load()
    except TaskError:
        raise
    except (Exception, SystemExit) as error:
        what = error.msg if isinstance(error, SyntaxError) else f"{type(error).__name__}: {error}"
        if isinstance(error, SystemExit):
            what = f"it ends the process when it is imported (exit {error.code}); it gets no arguments"
        raise TaskError(what, user_line(error) or location) from error
