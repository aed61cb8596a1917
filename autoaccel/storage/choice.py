"""Which folder a run has, and what becomes of it when the run fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from autoaccel.core.paths import missing, remove_empty, usable
from autoaccel.errors import PreemptedRunError, StoreError, TaskError, UsageError
from autoaccel.storage.delivery import RESULT, current
from autoaccel.storage.folder import RunFolder, holder
from autoaccel.storage.json_files import read_config, read_object


@contextmanager
def run_folder(
    out: str | Path | None, name: str, resume: bool = False, single: bool = False
) -> Iterator[RunFolder]:
    """Lock the folder of a run; if it is new and the run leaves nothing of use, remove what was made for it.

    Args:
        out: The folder; if None, one of the name in `runs`.
        name: That name.
        resume: Whether to go on with the run in it.
        single: Whether it is of `train`.
    """
    path = choose_folder(usable(out, "--out") if out else None, name, resume)
    if resume and ("training" in read_config(path)) != single:
        raise UsageError(
            f"{path} holds a run of {'tune' if single else 'train'}; `autoaccel resume {path}` goes on"
        )
    made = missing(path)
    try:
        with closing(RunFolder(path)) as folder:
            try:
                yield folder
            except BaseException as error:
                useless = isinstance(error, UsageError | TaskError) or not folder.has_log()
                if single:  # a scheduler that starts it again finds it
                    useless = not folder.has_checkpoint() and not isinstance(error, PreemptedRunError)
                if path in made and useless and not folder.has_result():
                    folder.remove()
                raise
    except BaseException:
        remove_empty(made)
        raise


def choose_folder(out: Path | None, name: str, resume: bool) -> Path:
    """Return the run's folder: `out` if given, else `runs/NAME`, `runs/NAME-2` and so on.

    Raises:
        UsageError: If there is an unfinished run and `resume` is not set, or no run to resume.
        StoreError: If another process has that run open.
    """
    if out is not None:
        taken = (out / "config.json").exists()
        if taken and not resume:
            _refuse_if_open(out)
            raise UsageError(f"{out} holds a run; add --resume to go on with it, or choose another --out")
        if resume and not taken:
            raise UsageError(f"{out} holds no run to resume")
        return out
    latest, path = _latest_and_next(Path("runs") / name)
    unfinished = latest is not None and (latest / "config.json").exists() and not is_finished(latest)
    if resume:
        if latest is None or not unfinished:
            raise UsageError(f"no unfinished run in {Path('runs') / name} to resume")
        return latest
    if unfinished and latest:
        _refuse_if_open(latest)
        raise UsageError(f"{latest} holds an unfinished run; add --resume, or choose another folder with --out")
    return path


def choose_fork(out: Path | None, name: str) -> tuple[Path, Path]:
    """Return the last run's folder, and a new one beside it.

    Args:
        out: The folder of the run to fork; the last one of the task if None.
        name: Name of the task's run folders.

    Raises:
        UsageError: If there is no run.
    """
    first = out or Path("runs") / name
    latest, path = _latest_and_next(first)
    if latest is None or not (latest / "config.json").exists():
        raise UsageError(f"there is no run in {first} to fork; leave out --fork")
    return latest, path


def _latest_and_next(first: Path) -> tuple[Path | None, Path]:
    """Return the last of the folders `first`, `first-2`, `first-3`, ..., if any, and the one that is next."""
    latest, path, number = None, first, 1
    while path.exists():
        number += 1
        latest, path = path, first.with_name(f"{first.name}-{number}")
    return latest, path


def is_finished(path: Path) -> bool:
    """Return whether the run in a folder is complete; one whose result cannot be read is not."""
    try:
        ended = read_object(current(path, RESULT)).get("status")
        # A training of one recipe that has landed is not gone on with.
        return ended == "complete" or (ended is not None and "training" in read_object(path / "config.json"))
    except StoreError:
        return False


def _refuse_if_open(path: Path) -> None:
    """Tell who has a run open, before anybody is advised to go on with it."""
    if not (path / "lock").exists():
        return
    try:
        with FileLock(path / "lock", timeout=0):
            pass
    except Timeout:
        raise StoreError(f"{path} is in use by {holder(path)}") from None
