"""References to a task: `model.py`, `model.py:name`, `package.module:name`, or an object in this process."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from autoaccel.core.paths import usable
from autoaccel.errors import TaskError


@dataclass(frozen=True)
class TaskRef:
    """A reference by which a child process finds the user's task.

    Args:
        target: `model.py`, `model.py:name` or `package.module:name`; only for display if pickled.
        pickled: Path of the pickled task, for a task that was defined in a notebook.
    """

    target: str
    pickled: str = ""


def target_name(task: Any) -> str:
    """Return the task's name for the run folder; a file is named by its full path.

    Raises:
        TaskError: If the file is missing or not valid Python; checked here, before a process is started.
        UsageError: If no file can have this name.
    """
    if not isinstance(task, str):
        return str(getattr(task, "__name__", "task"))
    location, name = split_target(task)
    if not location.endswith(".py"):
        return task
    path = usable(location, "the file")
    _check_syntax(path)
    module_of(path)
    return f"{path.resolve()}:{name}" if name else str(path.resolve())


def split_target(target: str) -> tuple[str, str]:
    """Split a target into the file or module and the name in it, which is empty if not given."""
    location, colon, name = target.rpartition(":")
    return (location, name) if colon and name.isidentifier() else (target, "")


def module_of(path: Path) -> tuple[Path, str]:
    """Return the folder from which a file is imported, and its module's name: dotted inside a package.

    Raises:
        TaskError: If the file would hide a module that other code imports by this name.
    """
    path = path.resolve()
    folder, parts = path.parent, [] if path.stem == "__init__" else [path.stem]
    while path.stem.isidentifier() and (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder, parts = folder.parent, [folder.name, *parts]
    name = parts[0] if parts else path.stem
    if _is_installed(name, folder):
        what = "folder" if len(parts) > 1 or path.stem == "__init__" else "file"
        raise TaskError(f"{path}: hides the module {name!r}, which is installed; give the {what} another name")
    return folder, ".".join(parts) or path.stem


_HARMLESS = ("test", "tests", "example", "examples", "benchmark", "benchmarks", "docs", "scripts", "src")
"""Names that people use, of modules that nobody imports; some packages install such by mistake."""


def _is_installed(name: str, folder: Path) -> bool:
    """Return whether Python or an installed package has a module of this name, other than in `folder`."""
    if name in _HARMLESS:
        return False
    if name in sys.stdlib_module_names or name == "autoaccel":
        return True
    places = [sysconfig.get_path(place) for place in ("purelib", "platlib")]
    found = PathFinder.find_spec(name, places)
    # A folder without `__init__.py` has no loader; nobody imports such a rest of an installation.
    return found is not None and found.loader is not None and folder not in map(Path, places)


def _check_syntax(path: Path) -> None:
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (FileNotFoundError, IsADirectoryError):
        raise TaskError(f"{path}: no such file") from None
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}") from None
    except SyntaxError as error:
        raise TaskError(f"not valid Python: {error.msg}", f"{path}:{error.lineno}") from error
    except ValueError as error:
        raise TaskError(f"{path}: not valid Python: {error}") from None


LONGEST = 60
"""Letters of a run folder's name; file systems allow 255 bytes, and a letter may take four."""


def slug(target: str) -> str:
    """Return a folder name for a task."""
    location, name = split_target(target)
    stem = Path(location).stem if location.endswith(".py") else location.rpartition(".")[2]
    stem = stem if name in ("", "task") else f"{stem}-{name}"
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)[:LONGEST] or "run"


def task_ref(task: Any, folder: Path) -> TaskRef:
    """Return a reference to the task: by name, or pickled by value if it was created in this process."""
    if isinstance(task, str):
        return TaskRef(task)
    import cloudpickle

    path = folder / "task.pickle"
    path.write_bytes(cloudpickle.dumps(task))
    return TaskRef(getattr(task, "__name__", "task"), str(path.resolve()))
