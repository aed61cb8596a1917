"""What a run has given, for Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoaccel.core.recipe import Recipe
from autoaccel.errors import StoreError
from autoaccel.storage.folder import LOG
from autoaccel.storage.log import read_log
from autoaccel.storage.records import trial_records
from autoaccel.tuner.summary import leaderboard


@dataclass(frozen=True, repr=False)
class Result:
    """What a run has given.

    Args:
        folder: Where everything is.
        data: The contents of `result.json`.
    """

    folder: Path
    data: Mapping[str, Any]
    _task: Any = None

    @classmethod
    def load(cls, folder: str | Path, task: Any = None) -> Result:
        """The result in a run folder.

        Args:
            folder: The run folder.
            task: Where it was not made from a file: the task, which `model` needs.

        Raises:
            StoreError: If there is no result in it.
        """
        path = Path(folder) / "result.json"
        if not path.is_file():
            raise StoreError(f"{folder} holds no result.json, so nothing was delivered there")
        return cls(Path(folder), json.loads(path.read_text()), task)

    def __repr__(self) -> str:
        return f"Result({str(self.folder)!r}): {self.data['headline']}"

    @property
    def best_recipe(self) -> Recipe:
        """The recipe that is delivered."""
        return Recipe.from_data(self.data["recipe"])

    def model(self) -> Any:
        """The trained model, a `torch.nn.Module` in eval mode. Imports torch and the user's file.

        Raises:
            TaskError: If the task cannot be loaded any more.
        """
        from autoaccel.training.checkpoint import load_weights
        from autoaccel.training.data.discovery import load_target, resolve

        task = resolve(load_target(self.data["target"]) if self._task is None else self._task)
        model = task.model(**self.best_recipe.model)
        load_weights(model, self.folder / "model.safetensors")
        return model.eval()

    def leaderboard(self) -> Any:
        """Complete trials, best first: a pandas DataFrame where pandas is installed, else a list of dicts."""
        _, records = trial_records(read_log(self.folder / LOG))
        rows = leaderboard(records, self.data["metric"]["direction"] == "max")
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def report(self) -> Path:
        """The path of the HTML report."""
        return self.folder / "report.html"


def inference_lines(folder: Path) -> str:
    """Five lines that load the delivered model and use it."""
    return "\n".join(
        [
            "import torch",
            "from autoaccel import Result",
            f"model = Result.load({str(folder.resolve())!r}).model()",
            "with torch.inference_mode():",
            "    output = model(inputs)",
        ]
    )
