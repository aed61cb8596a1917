"""A single training, for `train`: no search, one recipe, one outcome, and a folder from which it can be resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import TechniqueInfo, misplaced
from autoaccel.core.catalog import check as faults_of
from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Event, Finished, Interrupted, Reported, Start, Tick
from autoaccel.core.recipe import Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Reference, TrialRequest
from autoaccel.errors import NoTrialError, PreemptedRunError, TaskError, UsageError
from autoaccel.execution.local.supervisor import Supervisor
from autoaccel.reporting.terminal import Display
from autoaccel.search.rescue import CUT_OFF
from autoaccel.search.single import Single
from autoaccel.search.ways import ways
from autoaccel.storage.folder import RunFolder
from autoaccel.storage.json_files import read_config
from autoaccel.storage.loading import inference_lines
from autoaccel.storage.log import LOG, Log, scan_log
from autoaccel.storage.records import seconds_spent
from autoaccel.tuner.config import training_config
from autoaccel.tuner.identity import check_same, training_identity
from autoaccel.tuner.interrupts import PATIENCE, interrupts
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay
from autoaccel.tuner.reserve import RESUMING
from autoaccel.tuner.result import Result
from autoaccel.tuner.summary import SCHEMA, outcome_data

RESERVE = 0.9
"""Seconds of the budget reserved for ending the processes."""
ACCOUNTED = 1.0
"""Seconds between two notes of what was spent, in case the run is killed."""


class Training:
    """Trains one recipe with one budget, and goes on with that where it was cut off.

    Args:
        target: Name of the task.
        recipe: The recipe.
        budget: The budget; with `more`, that before it was extended.
        seed: Seed of the split and the training.
        devices: The user's choice of devices.
        reference: The folder of a run whose model the recipe learns from, or None.
        folder: The run folder.
        clock: Measures the seconds of this session.
        view: Shows the training.
        resume: Whether to go on with the training in the folder.
        more: What to add to the budget of a resumed training.
    """

    def __init__(
        self,
        target: str,
        recipe: Recipe,
        budget: Budget,
        seed: int,
        devices: str,
        reference: Path | None,
        folder: RunFolder,
        clock: SystemClock,
        view: Display,
        resume: bool = False,
        more: Budget | None = None,
    ):
        self._target, self._recipe, self._seed, self._devices = target, recipe, seed, devices
        self._given, self._budget = budget, budget.plus(more) if more else budget
        self._place = devices
        self._reference, self._folder, self._view = reference, folder, view
        self._old = read_config(folder.path) if resume else {}
        entries = scan_log(folder.path / LOG).entries if resume else ()
        self._before = seconds_spent(folder.path, entries) if resume else 0.0
        self.clock = SystemClock(clock.now() + self._before)
        """The clock of the whole training, over all sessions."""

    def go(self, executor: Supervisor) -> dict[str, Any]:
        """Train and deliver; return the contents of `result.json`.

        Raises:
            UsageError: If the recipe does not suit the task, or a resumed training is not the one in the folder.
            TaskError: If the task is at fault, or the training does not complete.
            NoTrialError: If it was cut off, and nothing is left of its budget.
            PreemptedRunError: If it was asked to end by a signal that takes the machine away.
            KeyboardInterrupt: If it is interrupted before its first step, or a second time.
        """
        self._check(executor.load(self._left()))
        if len(executor.slots.gpus) > 1:  # another number of them would be another training
            self._place = f"{self._devices or 'all'}, {len(executor.slots.gpus)} GPUs"
        names = self._begin(executor)
        record = self._train(executor)
        data = self._result(record, names)
        return self._folder.deliver(data, self._recipe.to_yaml(), record.number)

    def tidy(self) -> None:
        """Delete what only a resumed training would need."""
        self._folder.drop_weights(set())
        self._folder.drop_checkpoints(set())

    def _check(self, known: Mapping[str, TechniqueInfo]) -> None:
        misfits = misplaced(self._recipe.components(), self._recipe.techniques, known)
        if faults := misfits + faults_of(self._recipe.chosen(), known):
            raise UsageError("\n  ".join(["this recipe cannot be trained:", *faults]))

    def _begin(self, executor: Supervisor) -> Sequence[str]:
        """Rehearse the task, or see that it is still the same; write the configuration; return the class names."""
        if self._old:
            data, files = executor.identify(None)
            names = self._old["training"]["names"]
            check_same(self._folder.path, self._old.get("identity", {}), self._identity(self._given, data, files))
        else:
            checked = executor.check(self._left())
            data, files, names = checked["data"], checked["files"], checked["names"]
        made = training_config(
            self._target,
            self._budget,
            self._seed,
            self._devices,
            self._recipe,
            self._reference,
            names,
            self._identity(self._budget, data, files),
        )
        made |= {"folder": str(self._folder.path.resolve()), "started": self._old.get("started", made["started"])}
        self._folder.write_json("config.json", made)
        return list(names)

    def _left(self) -> float | None:
        """Return the seconds that are left of the budget but for the end; None if they are not limited."""
        seconds, least = self._budget.seconds, RESUMING if self._old else 0.1
        return max(least, seconds - self.clock.now() - RESERVE) if seconds else None

    def _identity(self, budget: Budget, data: str, files: Mapping[str, str]) -> dict[str, Any]:
        return training_identity(self._recipe, budget, self._seed, self._place, self._reference, data, files)

    def _train(self, executor: Supervisor) -> TrialRecord:
        """Train, in as many processes as it takes; return the try that is complete."""
        slots = executor.slots
        search = Single(self._request(), RESERVE, ways(slots.count, bool(slots.gpus)))
        with closing(Log(self._folder.path / LOG)) as log, interrupts() as asked:
            events, starts = replay(search, log.entries, self._before, self._folder.saved)
            search.resume()
            listener = Listener(self._folder, log, self._view)
            Loop(search, executor, self.clock, [listener], asked, PATIENCE).run([*events, Tick()], starts)
            listener.account(self.clock.now())
            return self._completed(search, terminated=asked.terminated)

    def _request(self) -> TrialRequest:
        # Without a profile, the trial itself finds out how often it can evaluate. Without a grace period it is not
        # killed for being late, which would lose the result, but only if it hangs.
        return TrialRequest(
            trial=0,
            recipe=self._recipe,
            budget=self._budget,
            purpose=Purpose.FINAL,
            seed=self._seed,
            milestones=(),
            test=True,
            origin="given",
            reference=None if self._reference is None else finished_model(self._reference),
            keep_best=True,
        )

    def _completed(self, search: Single, terminated: bool) -> TrialRecord:
        """Return the try that is complete, or raise what is to be said of the last one."""
        if found := next((record for record in search.trials.of(Purpose.FINAL) if record.complete), None):
            return found
        record = search.last
        outcome = record.outcome if record else None
        run, spent = self._folder.path, self.clock.now() + RESERVE >= (self._budget.seconds or math.inf)
        if terminated:
            raise PreemptedRunError(f"asked to end; `autoaccel resume {run}` goes on")
        if record is None or outcome is None or outcome.kind is OutcomeKind.PRUNED:
            raise KeyboardInterrupt  # asked to finish before its first step: there is nothing to keep
        resumed = f"`autoaccel resume {run}{' --add-budget 1h' if spent else ''}` goes on from its last checkpoint"
        advice = f"; {resumed}" if record.checkpoint else ""
        if record.unfinished and spent:
            raise NoTrialError(f"cut off, and nothing is left of the budget of {self._budget}{advice}")
        if outcome.kind is OutcomeKind.PREEMPTED:
            if record.checkpoint:
                self._view.note(resumed)
            raise KeyboardInterrupt
        if outcome.kind not in CUT_OFF:  # it would fail again
            self._folder.drop_checkpoints(set())
            advice = ""
        raise TaskError(f"training ended as {outcome.kind.value}: {outcome.reason}{advice}", outcome.where or None)

    def _result(self, record: TrialRecord, names: Sequence[str]) -> dict[str, Any]:
        """Return the contents of `result.json`; `names` are the classes where labels were strings."""
        outcome, folder = record.outcome, self._folder.path
        assert outcome is not None and outcome.final is not None
        final = outcome.final
        return {
            "schema": SCHEMA,
            "status": "interrupted" if outcome.reason else "complete",
            "headline": f"Trained {outcome.cost.steps:.0f} steps: {outcome.metric} {final.metric:.4g}, "
            f"loss {'unknown' if final.loss is None else f'{final.loss:.4g}'} on the validation set.",
            **({"classes": list(names)} if names else {}),
            "metric": {"name": outcome.metric},
            "final": outcome_data(self._budget, outcome, final),
            "recipe": self._recipe.to_data(),
            "target": self._target,
            "folder": str(folder.resolve()),
            "load": inference_lines(folder),
            "spent": {"final": dict(outcome.cost)},
        }


class Listener:
    """Writes the log and the seconds spent, and shows what happens."""

    def __init__(self, folder: RunFolder, log: Log, view: Display):
        self._folder, self._log, self._view = folder, log, view
        self._accounted: float | None = None
        self._shown = max((e.report.progress for _, e in log.entries if isinstance(e, Reported)), default=-1.0)

    def handle(self, entry: Event | Start, now: float) -> None:
        """Handle the training's start or an event."""
        self._log.append(now, entry)
        match entry:
            case Reported(report) if report.progress > self._shown:  # a try that goes on says again what is known
                self._shown = report.progress
                self._view.report(report, now)
            case Start() | Interrupted():
                self._view.handle(entry, now)
            case Finished(outcome=Outcome(kind=OutcomeKind.LOST, reason=reason)):
                self._view.note(f"the process of the training was lost: {reason}")

    def tick(self, now: float) -> None:
        """Note what was spent from time to time."""
        if self._accounted is None or now - self._accounted >= ACCOUNTED:
            self.account(now)

    def account(self, now: float) -> None:
        """Note what was spent."""
        self._accounted = now
        self._folder.write_json("account.json", {"seconds": now})


def finished_model(run: Path) -> Reference:
    """Return the model of a run, to learn from."""
    weights, recipe = Result.load(run).weights()
    return Reference(recipe, weights=str(weights.resolve()))
