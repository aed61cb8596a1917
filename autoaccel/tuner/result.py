"""The result of a run, for use from Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoaccel.core.recipe import Recipe
from autoaccel.errors import StoreError, UsageError
from autoaccel.storage.folder import WEIGHTS, relocated
from autoaccel.storage.records import read_trials
from autoaccel.storage.upgrade import upgraded_result
from autoaccel.tuner.summary import leaderboard


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a run.

    Args:
        folder: The run folder.
        data: The contents of `result.json`.
    """

    folder: Path
    data: Mapping[str, Any]
    _task: Any = None

    @classmethod
    def load(cls, folder: str | Path, task: Any = None) -> Result:
        """Load the result from a run folder.

        Args:
            folder: The run folder.
            task: The task, which `model` needs if it was not loaded from a file or module; or a target such as
                `model.py`, if that file has moved.

        Raises:
            StoreError: If the folder holds no result.
        """
        path = Path(folder) / "result.json"
        if not path.is_file():
            raise StoreError(f"{folder} holds no result.json, so nothing was delivered there")
        data = relocated(upgraded_result(json.loads(path.read_text())), Path(folder))
        return cls(Path(folder), data, task)

    def __repr__(self) -> str:
        return f"Result({str(self.folder)!r}): {self.data['headline']}"

    @property
    def best_recipe(self) -> Recipe:
        """The recipe of the delivered model."""
        return Recipe.from_data(self.data["recipe"])

    @property
    def front(self) -> list[Mapping[str, Any]]:
        """The models of which none is better both in the metric and in the second objective, the best metric first.

        Each has `trial`, `metric`, the second quantity, `budget` and `recipe`; empty without an objective.
        """
        return list(self.data.get("front", []))

    def model(self, trial: int | None = None) -> Any:
        """Return the trained `torch.nn.Module` in eval mode. Imports torch and the user's file.

        Args:
            trial: Number of a trial on the front; the delivered model if None.

        Raises:
            TaskError: If the task can no longer be loaded.
            UsageError: If that trial's model was not kept.
        """
        path, recipe = self._weights(trial)
        weights = path.absolute()  # the user's file may go to another folder
        from autoaccel.training.checkpoint import load_weights
        from autoaccel.training.data.discovery import load_target, resolve

        given = self.data["target"] if self._task is None else self._task
        task = resolve(load_target(given) if isinstance(given, str) else given)
        model = task.model(**recipe.model)
        load_weights(model, weights)
        return model.eval()

    def _weights(self, trial: int | None) -> tuple[Path, Recipe]:
        if trial is None:
            return self.folder / WEIGHTS, self.best_recipe
        path = self.folder / "trials" / f"{trial:04d}" / WEIGHTS
        row = next((row for row in self.front if row["trial"] == trial), None)
        if row is None or not path.is_file():
            numbers = ", ".join(str(row["trial"]) for row in self.front) or "none, without an objective"
            raise UsageError(f"the model of trial {trial} was not kept; those of the front are: {numbers}")
        return path, Recipe.from_data(row["recipe"])

    def leaderboard(self) -> Any:
        """Return the complete trials, best first, as a pandas DataFrame, or a list of dicts without pandas."""
        rows = leaderboard(read_trials(self.folder), self.data["metric"]["direction"] == "max")
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def report(self) -> Path:
        """Return the path of the HTML report."""
        return self.folder / "report.html"
