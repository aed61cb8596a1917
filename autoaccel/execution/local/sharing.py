"""What forked workers may share with the process that they are forked from."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from autoaccel.errors import TaskError
from autoaccel.training.data.discovery import with_data
from autoaccel.training.data.opening import open_task
from autoaccel.training.metrics.choosing import needs_scikit_learn

NEEDLESS = frozenset({"jemalloc_bg_thd"})
"""Names of threads without which their library works after a fork: pandas has one where it finds pyarrow."""


class _NeedsGpuError(BaseException):
    """The user's function uses the GPU. Not an `Exception`, which that function might catch."""


def share(target: Any, seed: int, metrics: Sequence[str | None] = ()) -> Any:
    """Return the task with its data, or the target itself where every worker must make the data for itself.

    A GPU does not survive a fork, and two processes that share an open file share its position. What the task's
    split and metric import is imported here, once: scikit-learn takes as long as torch's optimizers, and tasks with
    a validation set and one of our metrics need none of it.

    Args:
        target: The user's task, or the function that returns it.
        seed: Seed of the user's functions.
        metrics: Names of other metrics that will be computed.

    Raises:
        TaskError: If one of the user's functions raises.
    """
    files = _open_files()
    try:
        with _no_gpu():
            made = with_data(target, seed)
            with suppress(TaskError):  # the profile says what is wrong with them
                open_task(made)
            if made.valid is None:
                importlib.import_module("sklearn.model_selection")
            if any(map(needs_scikit_learn, (made.metric, *metrics))):
                importlib.import_module("autoaccel.training.metrics.scorers")
    except _NeedsGpuError:
        return target
    return made if _open_files() <= files else target


def threads() -> set[str]:
    """Return the threads of this process that a fork would lose: Python's, and on Linux those of libraries too."""
    known = {str(thread.native_id): type(thread).__name__ for thread in threading.enumerate()}
    tasks = Path("/proc/self/task")
    found = {task.name: _name(task) for task in tasks.iterdir()} if tasks.is_dir() else dict.fromkeys(known, "")
    # The monitor of a progress bar only redraws it.
    return {thread for thread, name in found.items() if known.get(thread) != "TMonitor" and name not in NEEDLESS}


def _name(task: Path) -> str:
    with suppress(OSError):  # it has just ended
        return (task / "comm").read_text().strip()
    return ""


def _open_files() -> set[tuple[str, Path]]:
    found = set()
    numbers = Path("/proc/self/fd")
    for number in numbers.iterdir() if numbers.is_dir() else ():
        with suppress(OSError):  # the listing itself was one of them
            found.add((number.name, number.readlink()))
    return {(number, path) for number, path in found if path.is_absolute() and path.parts[1] not in ("dev", "proc")}


@contextmanager
def _no_gpu() -> Iterator[None]:
    """Stop code that would initialize CUDA, before it does: no process could be forked afterwards."""
    initialize = torch.cuda._lazy_init

    def refuse() -> None:
        raise _NeedsGpuError

    torch.cuda._lazy_init = refuse
    try:
        yield
    finally:
        torch.cuda._lazy_init = initialize
