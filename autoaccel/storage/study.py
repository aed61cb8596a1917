"""`study.db`, a by-product: whatever is wrong with it, the run goes on, and it is made anew from the trials."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from autoaccel.core.catalog import Domain
from autoaccel.core.paths import sync_folder
from autoaccel.core.recipe import Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.storage.optuna_export import PATIENCE, StudyFile

BESIDE = ("-journal", "-wal", "-shm")
"""Files that SQLite keeps beside a database. Those of the old one would be taken for those of the new one."""

QUICK = 40
"""Trials with which the file is made anew before a run ends, at about 0.025 s each: its deadline comes first."""


class Study:
    """Keeps `study.db` up to date for as long as that works.

    Args:
        path: The SQLite file.
        name: Name of the study with all trials.
        maximize: Whether a larger metric is better.
        domains: The searched parameters.
        portfolio: Recipes that are tried first.
        note: Shows the user a line.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        maximize: bool,
        domains: Mapping[str, Domain],
        portfolio: Iterable[Recipe],
        note: Callable[[str], None],
    ):
        self._path, self._note = path, note
        self._make = partial(StudyFile, name=name, maximize=maximize, domains=domains, portfolio=tuple(portfolio))
        self._file: StudyFile | None = None
        self._broken = False

    def add(self, trials: Iterable[TrialRecord]) -> None:
        """Add the ended trials that are not there yet. The first failure is told, and is the last attempt."""
        if self._broken:
            return
        try:
            if self._path.exists() or self._file is not None:
                probe(self._path)
            if self._file is None:
                self._file = self._make(self._path)
            for record in trials:
                self._file.add(record)
        except Exception as error:  # SQLite, SQLAlchemy, Optuna and the disk each have their own
            self._broken = True
            self._note(
                f"{self._path} cannot be written ({_brief(error)}); the run goes on; "
                f"`autoaccel repair {self._path.parent}` makes it anew"
            )

    def finish(self, trials: Iterable[TrialRecord]) -> None:
        """Add the last trials; if that does not work, or did not before, make the file anew if that is quick."""
        trials = list(trials)
        self.add(trials)
        if self._broken and len(trials) <= QUICK:
            self.rebuild(trials)

    def rebuild(self, trials: Iterable[TrialRecord]) -> bool:
        """Make the file anew, beside the old one until it is complete; return whether that worked."""
        fresh = self._path.with_name(f".{self._path.name}.new")
        self._close()
        try:
            _remove(fresh)
            file = self._make(fresh)
            for record in trials:
                file.add(record)
            file.close()
            for end in BESIDE:
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)
            fresh.replace(self._path)
            sync_folder(self._path.parent)
        except Exception as error:
            _remove(fresh)
            self._note(f"{self._path} could not be made anew ({_brief(error)})")
            return False
        self._broken = False
        return True

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def probe(path: Path) -> None:
    """Find out at once whether a database can be written: Optuna would try five times, with pauses of seconds.

    Raises:
        sqlite3.Error: If it is locked, damaged or not there.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE)) as database:
        database.execute("BEGIN IMMEDIATE")
        if (fault := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(" ".join(fault.split()))
        database.rollback()


def _remove(path: Path) -> None:
    for end in ("", *BESIDE):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _brief(error: Exception) -> str:
    """Return what SQLite said, which its callers repeat at length."""
    cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__
