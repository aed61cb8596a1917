"""The files of a run beside weights, recipe and result. Whatever is wrong with one of them, the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

from autoaccel.core.facts import TaskFacts
from autoaccel.core.target import slug
from autoaccel.errors import StoreError, UsageError
from autoaccel.export.formats import export, script_files
from autoaccel.export.sources import COPY
from autoaccel.reporting.html import write_report
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.files import write_atomically
from autoaccel.storage.records import RunRecord
from autoaccel.storage.study import Study
from autoaccel.tuner.summary import trials_csv

Note = Callable[[str], None]


def study_of(folder: Path, target: str, facts: TaskFacts, space: SearchSpace | None, note: Note) -> Study:
    """Return the keeper of a run's `study.db`.

    Args:
        folder: The run folder.
        target: Name of the task.
        facts: The facts of the task.
        space: The search space; if None, parameters are stored as fixed ones.
        note: Shows the user a line.
    """
    domains = space.domains() if space else {}
    portfolio = space.portfolio.values() if space else ()
    return Study(folder / "study.db", slug(target), facts.maximize, domains, portfolio, note)


def write_last_files(folder: Path, record: RunRecord, note: Note) -> list[str]:
    """Write `trials.csv`, `accelerate_config.yaml`, the script and `report.html` of what is delivered.

    Returns:
        The names of those that were written.
    """
    files: dict[str, Callable[[], str]] = {
        "trials.csv": lambda: trials_csv(record.trials),
        "accelerate_config.yaml": lambda: export(record, "accelerate"),
        "train_best.py": lambda: _script(folder, record),
        "report.html": lambda: write_report(record),
    }
    return [name for name, make in files.items() if _written(folder / name, make, note)]


def _written(path: Path, make: Callable[[], str], note: Note) -> bool:
    try:
        write_atomically(path, make())
    except UsageError:  # nothing was delivered, or a script cannot contain techniques of other packages
        return False
    except Exception as error:
        reason = str(error) if isinstance(error, StoreError) else f"{path} could not be written: {error!r}"
        note(reason.splitlines()[0])
        return False
    return True


def _script(folder: Path, record: RunRecord) -> str:
    """Write the files beside the script, and return the script."""
    (folder / "train_best.py").unlink(missing_ok=True)  # a resumed run may deliver another recipe
    rmtree(folder / COPY, ignore_errors=True)
    text = export(record, "script")
    for name, content in script_files(record).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)
    return text
