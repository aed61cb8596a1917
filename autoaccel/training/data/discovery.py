"""Find the user's task: `model.py`, `model.py:name` or `package.module:name`. Runs only in a child process."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from autoaccel.core.target import split_target
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
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # Register it before running it, as an import does: dataclasses and pickles in the file look it up.
    sys.modules[path.stem] = module
    loader = spec.loader

    def load() -> ModuleType:
        loader.exec_module(module)
        return module

    return _import_user_code(load, str(path))


def _from_package(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    return _import_user_code(lambda: importlib.import_module(name), name)


def _import_user_code(load: Any, location: str) -> ModuleType:
    try:
        module: ModuleType = load()
    except TaskError:
        raise
    except (Exception, SystemExit) as error:
        what = error.msg if isinstance(error, SyntaxError) else f"{type(error).__name__}: {error}"
        raise TaskError(f"{what}", user_line(error) or location) from error
    return module
