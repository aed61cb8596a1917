"""Keeps a run's folder up to date: the log at every event, the deliverables at every improvement."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from shutil import rmtree
from typing import Any

from autoaccel.core.clock import Clock
from autoaccel.core.events import Event, Finished, Start
from autoaccel.core.recipe import Recipe
from autoaccel.errors import UsageError
from autoaccel.export.formats import export, recipe_of
from autoaccel.export.script import recipe_files
from autoaccel.export.sources import COPY
from autoaccel.reporting.html import write_report
from autoaccel.search.halving import Search
from autoaccel.storage.folder import RunFolder, read_json
from autoaccel.storage.log import Log
from autoaccel.storage.optuna_export import StudyFile
from autoaccel.storage.records import read_record, trial_records
from autoaccel.tuner.summary import delivery, failures, leaderboard, result_data, trials_csv


class Recorder:
    """Listens to a run and writes it down.

    Args:
        folder: The run folder.
        log: Where events go.
        search: Asked what is best.
        target: Name of the task, for the study.
        load: Code that loads the delivered model.
    """

    def __init__(self, folder: RunFolder, log: Log, search: Search, target: str, load: str):
        self._folder = folder
        self._log = log
        self._search = search
        self._load = load
        self._target = target
        self._study: StudyFile | None = None
        self._written = -1.0
        self._delivered: int | None = None
        self._behind = False

    def handle(self, entry: Event | Start, now: float) -> None:
        """Write an event to the log, and what follows from it to the folder."""
        self._log.append(now, entry)
        self._behind = self._behind or isinstance(entry, Finished)

    def tick(self, now: float) -> None:
        """Book the wall seconds, which a killed run has spent, and catch up with what has ended."""
        if now - self._written >= 1.0 or self._written < 0:
            self._written = now
            self._folder.write_json("account.json", {"seconds": now})
        if self._behind:
            # Not in `handle`: the next trial waits for that one, and a database takes its time.
            self._behind = False
            self._keep_weights()
            self._improve(now)
            self._add_to_study()

    def deliver(self, clock: Clock, status: str, tested: Mapping[str, Any]) -> dict[str, Any]:
        """Write everything for the last time; returns the contents of `result.json`.

        Args:
            clock: Tells the seconds that are spent.
            status: complete or interrupted.
            tested: The test score of a trial that is delivered instead of the final training, and its cost.
        """
        _, records = trial_records(self._log.entries)
        self._add_to_study()
        self._folder.write("trials.csv", trials_csv(records))
        self._promote_weights()
        self._folder.drop_weights(set())
        data = self._result(clock.now(), status)
        if tested:
            data["delivered"]["test"] = {key: tested[key] for key in ("metric", "loss", "standard_error")}
            data["spent"]["test"] = {key: tested[key] for key in ("seconds", "flops")}
        self._write_recipe(data)
        self._folder.write_json("result.json", data)
        self._folder.write_json("account.json", {"seconds": clock.now()})
        record = read_record(self._folder.path)
        self._folder.write("accelerate_config.yaml", export(record, "accelerate"))
        with suppress(UsageError):  # a script does not carry techniques of other packages
            self._folder.write("train_best.py", export(record, "script"))
            rmtree(self._folder.path / COPY, ignore_errors=True)  # a resumed run may deliver another recipe
            for name, text in recipe_files(recipe_of(record)).items():
                (self._folder.path / name).parent.mkdir(parents=True, exist_ok=True)
                self._folder.write(name, text)
        self._folder.write("report.html", write_report(record))
        return data

    def _improve(self, now: float) -> None:
        _, entry = delivery(self._search)
        if entry is None or entry.request.trial == self._delivered:
            return
        self._delivered = entry.request.trial
        data = self._result(now, "running")
        self._write_recipe(data)
        self._folder.write_json("result.json", data)
        self._promote_weights()

    def _keep_weights(self) -> None:
        best, final = self._search.trials.best(), self._search.trials.final()
        running = [entry.request for entry in self._search.trials.running()]
        learned_from = {request.reference.trial for request in running if request.reference}
        kept = {entry.request.trial for entry in (best[0] if best else None, final) if entry is not None}
        self._folder.drop_weights(kept | learned_from | {request.trial for request in running})

    def _promote_weights(self) -> None:
        _, entry = delivery(self._search)
        if entry is not None:
            self._folder.deliver_weights(entry.request.trial)

    def _result(self, now: float, status: str) -> dict[str, Any]:
        data = result_data(self._search, now, status)
        names = ("recipe.yaml", "model.safetensors", "train_best.py", "accelerate_config.yaml", "trials.csv",
                 "report.html", "study.db", "config.json")  # fmt: skip
        data["paths"] = {name: str(self._folder.path / name) for name in names}
        data["load"] = self._load
        data["target"] = self._target
        _, records = trial_records(self._log.entries)
        data["leaderboard"] = leaderboard(records, self._search.plan.facts.maximize) if self._search.plan else []
        data["failures"] = failures(records)
        data["environment"] = read_json(self._folder.path / "config.json").get("environment", {})
        return data

    def _write_recipe(self, data: Mapping[str, Any]) -> None:
        self._folder.write("recipe.yaml", Recipe.from_data(data["recipe"]).to_yaml())

    def _add_to_study(self) -> None:
        assert self._search.plan is not None
        if self._study is None:
            maximize = self._search.plan.facts.maximize
            self._study = StudyFile(self._folder.path / "study.db", self._target, maximize)
        _, records = trial_records(self._log.entries)
        for record in records:
            self._study.add(record)
