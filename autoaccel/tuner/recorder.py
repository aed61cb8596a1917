"""Keep a run's folder up to date: the log at every event, the deliverables at every improvement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.clock import Clock
from autoaccel.core.events import Event, Finished, Measured, Start
from autoaccel.core.goal import Goal
from autoaccel.core.quantities import known
from autoaccel.core.recipe import Recipe
from autoaccel.errors import StoreError
from autoaccel.search.base import Search
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.delivery import RESULT
from autoaccel.storage.files import sha256
from autoaccel.storage.folder import RunFolder, relocated
from autoaccel.storage.json_files import read_config, read_result
from autoaccel.storage.log import Log
from autoaccel.storage.records import RunRecord
from autoaccel.storage.space import release
from autoaccel.storage.study import Study
from autoaccel.tuner.byproducts import study_of, write_last_files
from autoaccel.tuner.claim import optimism
from autoaccel.tuner.goals import front_of, needed
from autoaccel.tuner.summary import delivery, failures, leaderboard, result_data

PATHS = ("recipe.yaml", "model.safetensors", "train_best.py", "accelerate_config.yaml", "trials.csv", "report.html",
         "study.db", "config.json")  # fmt: skip
FILES_SHARE = 0.01
"""Largest share of the time for writing them before the end."""
ENDING = 0.8
"""Seconds for the end of the processes, and of this one."""
SLOWER_END = 2.0
"""How much longer than before the last files may take: there is more in them, and the machine may be busy."""
OF_THE_RUN = ("status", "spent", "trials", "leaderboard", "failures", "folder", "paths", "load", "target")
"""What a result says of the run as a whole, not of what is delivered."""


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
        clock: Measures the seconds of the run.
        goal: What the run is after besides the best metric.
        note: Shows the user a line.
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
        clock: Clock,
        goal: Goal = Goal(),  # noqa: B008 - a frozen value
        note: Callable[[str], None] = lambda line: None,
    ):
        self._folder = folder
        self._budget = budget
        self._space = space
        self._log = log
        self._search = search
        self._load = load
        self._clock = clock
        self._goal = goal
        self._target = target
        self._note = note
        self._config = relocated(read_config(folder.path), folder.path)
        self._salvaged = _salvaged(folder, log)
        self._study: Study | None = None
        self._written = -1.0
        self._delivered: int | None = None
        self._behind = False
        self._files_at = self._files_took = 0.0
        self._news: list[Event] = []

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
            improved = self._improve(now)
            self._made_study().add(self._search.trials)
            if improved and now - self._files_at >= self._files_took / FILES_SHARE:
                self._write_last_files_early(now)

    def news(self) -> list[Event]:
        """Return what was measured since the last call."""
        news, self._news = self._news, []
        return news

    def deliver(self, status: str, tested: Mapping[str, Any]) -> dict[str, Any]:
        """Write all files for the last time and return the contents of `result.json`.

        Args:
            status: complete, interrupted or preempted.
            tested: Test score, with its cost, of a trial delivered instead of the final training; may be empty.
        """
        release(self._folder.path)  # what follows is what the space was set aside for
        data = self._result(self._clock.now(), status)
        if tested:
            scored = {key: known(tested[key]) for key in ("metric", "loss", "standard_error")}
            data["delivered"] |= {"test": scored, "optimism": optimism(data["delivered"], scored)}
            data["spent"]["test"] = dict(tested["cost"])
        shown = front_of(self._search, self._goal, self._budget)
        for row in data.get("front", ()):
            weights = self._folder.weights(row["trial"])
            row["sha256"] = sha256(weights) if weights.exists() else None
        data = self._replace(data) or self._keep(data)
        kept = {record.number for record in shown}
        if status != "complete":  # it may go on
            kept |= self._search.kept() | needed(self._search, self._goal, self._budget)
        self._folder.drop_weights(kept)
        self._folder.drop_checkpoints(set() if status == "complete" else self._to_go_on())
        self._folder.write_json("account.json", {"seconds": self._clock.now()})
        self._made_study().finish(self._search.trials)
        self._write_last_files(self._clock.now(), data)
        return data

    def _write_last_files(self, now: float, data: Mapping[str, Any]) -> None:
        write_last_files(self._folder.path, RunRecord(self._config, self._search.trials, now, data), self._note)

    def _write_last_files_early(self, now: float) -> None:
        """Write them as they are now: a killed run has them too, and what they take at the end is known."""
        self._write_last_files(now, read_result(self._folder.path / RESULT))
        self._files_at = self._clock.now()
        took = self._files_at - now
        if self._files_took:  # the first time takes the imports too, and says nothing of the end
            self._news.append(Measured(ENDING + SLOWER_END * took))
        self._files_took = took

    def _improve(self, now: float) -> bool:
        """Deliver the best model if it is another one than before; return whether it is."""
        _, record = delivery(self._search, self._goal)
        if record is None or record.number == self._delivered:
            return False
        self._delivered = record.number
        return self._replace(self._result(now, "running")) is not None

    def _replace(self, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """Deliver a result; None if what lies there is better, and of a trial that is not in the log."""
        new, old = data["delivered"], self._salvaged.get("delivered", {})
        if old.get("metric") is not None and not _beats(new, old, data["metric"]["direction"] == "max"):
            return None
        self._salvaged = {}
        return self._folder.deliver(data, _yaml(data), new["trial"])

    def _keep(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Leave what is delivered as it is, and bring the rest of `result.json` up to date."""
        data = {**self._salvaged, **{key: data[key] for key in OF_THE_RUN}}
        data.setdefault("weights", None)
        return self._folder.deliver(data, _yaml(data), data["delivered"]["trial"])

    def _keep_weights(self) -> None:
        running = [record.request for record in self._search.trials.running()]
        learned_from = {request.reference.trial for request in running if request.reference}
        kept = self._search.kept() | needed(self._search, self._goal, self._budget)
        self._folder.drop_weights(kept | learned_from | {request.trial for request in running})
        gone_on_with = {request.resumes for request in running if request.resumes is not None}
        self._folder.drop_checkpoints({request.trial for request in running} | gone_on_with | self._to_go_on())

    def _to_go_on(self) -> set[int]:
        """Return the trials from whose checkpoints others go on, or may."""
        trials = self._search.trials
        ended = {record.request.resumes for record in trials if record.outcome and not record.unfinished}
        return {record.checkpoint[0] for record in trials.unfinished() if record.checkpoint} - ended

    def _result(self, now: float, status: str) -> dict[str, Any]:
        trials = self._search.trials
        data = result_data(self._search, self._budget, now, status, self._goal)
        data["paths"] = {name: str(self._folder.path / name) for name in PATHS}
        data["load"] = self._load
        data["target"] = self._target
        data["folder"] = str(self._folder.path.resolve())
        data["leaderboard"] = leaderboard(trials, trials.facts.maximize) if trials.facts else []
        data["failures"] = failures(trials)
        data["environment"] = self._config.get("environment", {})
        return data

    def _made_study(self) -> Study:
        facts = self._search.trials.facts
        assert facts is not None
        if self._study is None:
            self._study = study_of(self._folder.path, self._target, facts, self._space, self._note)
        return self._study


def _salvaged(folder: RunFolder, log: Log) -> dict[str, Any]:
    """Return the result in the folder if the log knows nothing of its trial, as after `repair`; else {}."""
    try:
        found = read_result(folder.path / RESULT)
    except StoreError:  # it is about to be written anew
        return {}
    known_trials = {entry.trial for _, entry in log.entries if isinstance(entry, Finished)}
    return {} if found.get("delivered", {}).get("trial") in known_trials else found


def _beats(new: Mapping[str, Any], old: Mapping[str, Any], maximize: bool) -> bool:
    if new["trial"] is None:
        return False
    return bool(new["metric"] > old["metric"] if maximize else new["metric"] < old["metric"])


def _yaml(data: Mapping[str, Any]) -> str:
    return Recipe.from_data(data["recipe"]).to_yaml()
