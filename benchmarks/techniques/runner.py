"""Run many trainings in their own processes, one or more at a time; results are kept in a file and reused."""

import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Finished
from autoaccel.core.recipe import Recipe
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import Purpose, Reference, TrialRequest
from autoaccel.execution.local.supervisor import Supervisor

OUT = Path(__file__).parents[2] / "runs" / "techniques"
PATIENCE = 0.5


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        key: Its unique name.
        recipe: The recipe to train with.
        budget: The budget of the training.
        seed: The seed of the training.
        reference: The finished model that it learns from, if any.
    """

    key: str
    recipe: Recipe
    budget: Budget
    seed: int
    reference: Reference | None = None


@dataclass
class Results:
    """The results by job key, in a file to which each result adds a line.

    Args:
        path: The file.
    """

    path: Path
    rows: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.rows = {row["key"]: row for row in map(json.loads, lines)}

    def add(self, row: dict) -> None:
        """Add a result and append it to the file."""
        self.rows[row["key"]] = row
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def run_jobs(target: str, jobs: Sequence[Job], results: Results, workers: int, title: str, keep: str = "") -> None:
    """Run the trainings that have no result yet.

    Args:
        target: The task's file and name.
        jobs: All trainings wanted.
        results: The results, which are extended.
        workers: Number of parallel trainings; the cores are divided among them.
        title: Label of the progress bar.
        keep: A folder for the weights; if empty, they are discarded.
    """
    missing = [job for job in jobs if job.key not in results.rows]
    if not missing:
        return
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as temporary, Progress(*columns, TimeRemainingColumn()) as progress:
        folder = Path(keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        place = Resources(workers=workers, sharing=True)
        with closing(Supervisor(TaskRef(target), place, SystemClock(), folder)) as executor:
            executor.load(None)
            waiting = list(enumerate(missing))
            running: dict[int, Job] = {}
            bar = progress.add_task(title, total=len(missing))
            while waiting or running:
                while waiting and len(running) < workers:
                    trial, job = waiting.pop(0)
                    running[trial] = job
                    executor.start(_request(trial, job))
                for event in executor.poll(PATIENCE):
                    if isinstance(event, Finished):
                        results.add(_row(running.pop(event.trial), event.outcome))
                        progress.advance(bar)


def _request(trial: int, job: Job) -> TrialRequest:
    return TrialRequest(
        trial, job.recipe, job.budget, Purpose.FINAL, job.seed, test=True, reference=job.reference, grace=600.0
    )


def _row(job: Job, outcome) -> dict:
    return {
        "key": job.key,
        "kind": outcome.kind.value,
        "reason": outcome.reason,
        "test": dict(outcome.test),
        "cost": dict(outcome.cost),
        "first_step": outcome.first_step,
    }
