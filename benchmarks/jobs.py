"""Cases in processes of one thread each, and their results: a line of JSON each, in a file that is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Row = Mapping[str, Any]


def rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, if there is one; a last line that was cut off is skipped."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


@contextmanager
def processes(jobs: int, each: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Give a pool whose processes have one thread; what has not begun at the end is dropped.

    Args:
        jobs: Number of processes.
        each: Number of cases after which a process is replaced; None for never.
    """
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=each)
    with patch.dict(os.environ, dict.fromkeys(THREADS, "1")):  # the processes inherit it
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def shown(console: Console) -> Progress:
    """Return a display of progress with the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)


def finished(futures: Iterable[Future[Any]], progress: Progress, bar: TaskID) -> Iterator[Future[Any]]:
    """Yield futures as they end, and count them."""
    for future in as_completed(futures):
        yield future
        progress.advance(bar)


def attempt(play: Callable[..., Row], *given: Any) -> Row | str:
    """Return the row, or why there is none: errors of other packages may not survive the way between processes."""
    try:
        return play(*given)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def collect(running: Mapping[Future[Row | str], object], path: Path, progress: Progress, title: str) -> list[str]:
    """Add a line to a file for each attempt that ends, and return why some of them failed.

    Args:
        running: The attempts, and the case of each.
        path: The file.
        progress: Shows how many have ended.
        title: What to call them.
    """
    if path.exists() and not path.read_text().endswith("\n"):
        path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()))  # the last one was cut off
    bar, failures = progress.add_task(title, total=len(running)), []
    with path.open("a") as file:
        for future in finished(running, progress, bar):
            if isinstance(found := future.result(), str):
                failures.append(f"{running[future]}: {found}")
                progress.console.print(failures[-1], style="red", markup=False)
            else:
                file.write(json.dumps(found) + "\n")
                file.flush()
    return failures
