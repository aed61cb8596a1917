"""The result of a run, for use from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoaccel.core.recipe import Recipe
from autoaccel.errors import StoreError, UsageError
from autoaccel.storage.delivery import RESULT, WEIGHTS, check_weights, current
from autoaccel.storage.folder import relocated
from autoaccel.storage.json_files import read_result
from autoaccel.storage.records import read_trials
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
            StoreError: If the folder holds no result, or one that is damaged.
        """
        data = read_result(current(Path(folder), RESULT))
        if not data:
            raise StoreError(f"{folder} holds no result.json, so nothing was delivered there")
        return cls(Path(folder), relocated(data, Path(folder)), task)

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
            StoreError: If the weights are not those that were delivered, by their SHA-256.
        """
        path, recipe = self.weights(trial)
        weights = path.absolute()  # the user's file may go to another folder
        from autoaccel.training.checkpoint import load_weights
        from autoaccel.training.data.discovery import load_target, resolve

        given = self.data["target"] if self._task is None else self._task
        task = resolve(load_target(given) if isinstance(given, str) else given)
        model = task.model(**recipe.model)
        load_weights(model, weights)
        return model.eval()

    def weights(self, trial: int | None = None) -> tuple[Path, Recipe]:
        """Return the file of the trained weights, after checking it, and their recipe.

        Args:
            trial: As for `model`.

        Raises:
            UsageError: If that trial's model was not kept.
            StoreError: If the weights are not those that were delivered, by their SHA-256.
        """
        if trial is None:
            path, stored = current(self.folder, WEIGHTS), self.data.get("weights", {})
            if stored is None:
                raise StoreError(f"{self.folder}: the weights of the delivered trial are missing")
            check_weights(path, stored.get("sha256"))
            return path, self.best_recipe
        path = self.folder / "trials" / f"{trial:04d}" / WEIGHTS
        row = next((row for row in self.front if row["trial"] == trial), None)
        if row is None or not path.is_file():
            numbers = ", ".join(str(row["trial"]) for row in self.front) or "none, without an objective"
            raise UsageError(f"the model of trial {trial} was not kept; those of the front are: {numbers}")
        check_weights(path, row.get("sha256"))
        return path, Recipe.from_data(row["recipe"])

    def leaderboard(self) -> Any:
        """Return the complete trials, best first, as a pandas DataFrame, or a list of dicts without pandas."""
        rows = leaderboard(read_trials(self.folder), self.data["metric"].get("direction") == "max")
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def report(self) -> Path:
        """Return the path of the HTML report."""
        return self.folder / "report.html"
