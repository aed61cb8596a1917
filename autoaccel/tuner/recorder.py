"""Keep a run's folder up to date: the log at every event, the deliverables at every improvement."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from shutil import rmtree
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.clock import Clock
from autoaccel.core.events import Event, Finished, Start
from autoaccel.core.goal import Goal
from autoaccel.core.quantities import known
from autoaccel.core.recipe import Recipe
from autoaccel.core.target import slug
from autoaccel.errors import UsageError
from autoaccel.export.formats import export, script_files
from autoaccel.export.sources import COPY
from autoaccel.reporting.html import write_report
from autoaccel.search.base import Search
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.folder import RunFolder, read_json
from autoaccel.storage.log import Log
from autoaccel.storage.optuna_export import StudyFile
from autoaccel.storage.records import read_record
from autoaccel.tuner.claim import optimism
from autoaccel.tuner.goals import front_of, needed
from autoaccel.tuner.summary import delivery, failures, leaderboard, result_data, trials_csv


class Recorder:
    """Listens to a run and writes its folder.

    Args:
        folder: The run folder.
        log: The event log.
        search: The search, which knows the trials and the best one.
        budget: The budget of the run.
        space: The search space.
        target: Name of the task, for the study.
        load: Code that loads the delivered model.
        goal: What the run is after besides the best metric.
    """

    def __init__(
        self,
        folder: RunFolder,
        log: Log,
        search: Search,
        space: SearchSpace,
        budget: Budget,
        target: str,
        load: str,
        goal: Goal = Goal(),  # noqa: B008 - a frozen value
    ):
        self._folder = folder
        self._budget = budget
        self._space = space
        self._log = log
        self._search = search
        self._load = load
        self._goal = goal
        self._target = target
        self._study: StudyFile | None = None
        self._written = -1.0
        self._delivered: int | None = None
        self._behind = False

    def handle(self, entry: Event | Start, now: float) -> None:
        """Write a start or an event to the log; `tick` updates the other files."""
        self._log.append(now, entry)
        self._behind = self._behind or isinstance(entry, Finished)

    def tick(self, now: float) -> None:
        """Save the seconds spent, in case the run is killed, and write what follows from ended trials."""
        if now - self._written >= 1.0 or self._written < 0:
            self._written = now
            self._folder.write_json("account.json", {"seconds": now})
        if self._behind:
            # Not in `handle`: the next trial waits for it, and the database is slow.
            self._behind = False
            self._keep_weights()
            self._improve(now)
            self._add_to_study()

    def deliver(self, clock: Clock, status: str, tested: Mapping[str, Any]) -> dict[str, Any]:
        """Write all files for the last time and return the contents of `result.json`.

        Args:
            clock: Measures the seconds of the run.
            status: complete, interrupted or preempted.
            tested: Test score, with its cost, of a trial delivered instead of the final training; may be empty.
        """
        self._add_to_study()
        self._folder.write("trials.csv", trials_csv(self._search.trials))
        self._promote_weights()
        shown = front_of(self._search, self._goal, self._budget)
        self._folder.drop_weights({record.number for record in shown})
        self._folder.drop_checkpoints(set() if status == "complete" else self._to_go_on())
        data = self._result(clock.now(), status)
        if tested:
            scored = {key: known(tested[key]) for key in ("metric", "loss", "standard_error")}
            data["delivered"] |= {"test": scored, "optimism": optimism(data["delivered"], scored)}
            data["spent"]["test"] = dict(tested["cost"])
        self._write_recipe(data)
        self._folder.write_json("result.json", data)
        self._folder.write_json("account.json", {"seconds": clock.now()})
        record = read_record(self._folder.path)
        self._folder.write("accelerate_config.yaml", export(record, "accelerate"))
        with suppress(UsageError):  # a script cannot contain techniques of other packages
            self._folder.write("train_best.py", export(record, "script"))
            rmtree(self._folder.path / COPY, ignore_errors=True)  # a resumed run may deliver another recipe
            for name, text in script_files(record).items():
                (self._folder.path / name).parent.mkdir(parents=True, exist_ok=True)
                self._folder.write(name, text)
        self._folder.write("report.html", write_report(record))
        return data

    def _improve(self, now: float) -> None:
        _, record = delivery(self._search, self._goal)
        if record is None or record.number == self._delivered:
            return
        self._delivered = record.number
        data = self._result(now, "running")
        self._write_recipe(data)
        self._folder.write_json("result.json", data)
        self._promote_weights()

    def _keep_weights(self) -> None:
        running = [record.request for record in self._search.trials.running()]
        learned_from = {request.reference.trial for request in running if request.reference}
        search = self._search
        # The longest plain trial too: a comparison on a higher rung may yet find that nothing beats it.
        found = (search.best(), search.final(), search.baseline())
        kept = {record.number for record in found if record is not None}
        kept |= needed(search, self._goal, self._budget)
        self._folder.drop_weights(kept | learned_from | {request.trial for request in running})
        self._folder.drop_checkpoints({request.trial for request in running} | self._to_go_on())

    def _to_go_on(self) -> set[int]:
        """Return the trials from whose checkpoints others go on, or may."""
        trials = self._search.trials
        ended = {record.request.resumes for record in trials if record.outcome and not record.unfinished}
        return {record.checkpoint[0] for record in trials.unfinished() if record.checkpoint} - ended

    def _promote_weights(self) -> None:
        _, record = delivery(self._search, self._goal)
        if record is not None:
            self._folder.deliver_weights(record.number)

    def _result(self, now: float, status: str) -> dict[str, Any]:
        trials = self._search.trials
        data = result_data(self._search, self._budget, now, status, self._goal)
        names = ("recipe.yaml", "model.safetensors", "train_best.py", "accelerate_config.yaml", "trials.csv",
                 "report.html", "study.db", "config.json")  # fmt: skip
        data["paths"] = {name: str(self._folder.path / name) for name in names}
        data["load"] = self._load
        data["target"] = self._target
        data["folder"] = str(self._folder.path.resolve())
        data["leaderboard"] = leaderboard(trials, trials.facts.maximize) if trials.facts else []
        data["failures"] = failures(trials)
        data["environment"] = read_json(self._folder.path / "config.json").get("environment", {})
        return data

    def _write_recipe(self, data: Mapping[str, Any]) -> None:
        self._folder.write("recipe.yaml", Recipe.from_data(data["recipe"]).to_yaml())

    def _add_to_study(self) -> None:
        facts = self._search.trials.facts
        assert facts is not None
        if self._study is None:
            domains, portfolio = self._space.domains(), self._space.portfolio.values()
            path = self._folder.path / "study.db"
            self._study = StudyFile(path, slug(self._target), facts.maximize, domains, portfolio)
        for record in self._search.trials:
            self._study.add(record)
