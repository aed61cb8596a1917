"""The steps of one tuning run: the only place that wires search, execution and store together."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoaccel import __version__
from autoaccel.core.budget import Budget, Cost
from autoaccel.core.catalog import Catalog
from autoaccel.core.clock import SystemClock, timestamp
from autoaccel.core.events import Profiled
from autoaccel.core.resources import Resources
from autoaccel.core.target import task_ref
from autoaccel.core.trial import Outcome, TaskFacts
from autoaccel.errors import AutoaccelError, NoTrialError, TaskError, UsageError
from autoaccel.execution.local.supervisor import Supervisor
from autoaccel.reporting.terminal import Display
from autoaccel.search.halving import Search
from autoaccel.search.plan import make_plan
from autoaccel.search_spaces import read as read_space
from autoaccel.spaces.domains import model_domains
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.folder import LOG, RunFolder, read_json
from autoaccel.storage.log import Log, read_log
from autoaccel.tuner.loop import Listener, Loop, replay
from autoaccel.tuner.options import Options
from autoaccel.tuner.recorder import Recorder
from autoaccel.tuner.result import Result, inference_lines
from autoaccel.tuner.summary import delivery

if TYPE_CHECKING:
    from autoaccel.execution.inline import InlineExecutor

    TaskExecutor = Supervisor | InlineExecutor

PATIENCE = 0.5
SCORING_SECONDS = 1.2
"""Kept for starting a process that scores, and for the last files."""
DEFAULT_SPACES = {"image": "vision", "tokens": "text", "table": "tabular", "series": "tabular"}


class Tuning:
    """The steps of `tune`, which share the folder and the clock."""

    def __init__(
        self,
        task: Any,
        target: str,
        budget: Budget,
        options: Options,
        resources: Resources,
        folder: RunFolder,
        clock: SystemClock,
        view: Display | None,
    ):
        self._task, self._target, self._budget, self._options = task, target, budget, options
        self._folder, self._resources = folder, resources
        self._old = read_json(folder.path / "config.json") if options.resume else {}
        entries = read_log(folder.path / LOG) if options.resume else []
        spent = read_json(folder.path / "account.json").get("seconds", 0.0)
        before = max([spent, *(now for now, _ in entries)]) if entries else spent
        # What was spent is spent: a resumed run goes on with what is left.
        self._clock = SystemClock(clock.now() + before)
        self._view = view

    def go(self) -> Result:
        """Run to the end."""
        executor = self._executor()
        try:
            catalog = executor.load(self._budget.seconds)
            facts, model_space = self._facts(executor)
            search = self._search(catalog, facts, model_space)
            self._write_config(model_space, search)
            return self._loop(search, executor, facts)
        finally:
            executor.close()

    def _executor(self) -> TaskExecutor:
        path = self._folder.path
        if self._options.inline:
            # Imports torch into this process, which otherwise never does.
            from autoaccel.execution.inline import InlineExecutor

            return InlineExecutor(self._task, self._resources, self._clock, path)
        return Supervisor(task_ref(self._task, path), self._resources, self._clock, path)

    def _facts(self, executor: TaskExecutor) -> tuple[TaskFacts, Mapping[str, Any]]:
        entries = read_log(self._folder.path / LOG) if self._old else []
        for _, entry in entries:
            if isinstance(entry, Profiled):
                return entry.facts, self._old["model_space"]
        return executor.profile(0.5 * self._budget.seconds if self._budget.seconds else None)

    def _search(self, catalog: Catalog, facts: TaskFacts, model_space: Mapping[str, Any]) -> Search:
        name = self._options.space or DEFAULT_SPACES[facts.kind]
        whole = load_space(name, catalog).with_model(model_domains(model_space))
        fitted, notes = whole.for_task(facts.capabilities)
        if self._view:
            for note in notes:
                self._view.note(note)
        self._fingerprint = _fingerprint(self._target, name, facts, self._options)
        if self._old and self._old.get("fingerprint") != self._fingerprint:
            raise UsageError(
                f"{self._folder.path} was made with another task file, space, seed, metric or version; "
                "choose another folder with --out"
            )
        return Search(fitted, self._budget, self._options.seed, reserve(self._budget))

    def _write_config(self, model_space: Mapping[str, Any], search: Search) -> None:
        self._folder.write_json(
            "config.json",
            {
                "schema": 1,
                "autoaccel": __version__,
                "target": self._target,
                "budget": self._budget.to_data(),
                "space": self._options.space,
                "model_space": dict(model_space),
                "metric": self._options.metric,
                "seed": self._options.seed,
                "devices": self._options.devices,
                "workers": self._resources.workers,
                "fingerprint": self._fingerprint,
                "started": self._old.get("started", timestamp()),
                "environment": _environment(),
            },
        )

    def _loop(self, search: Search, executor: TaskExecutor, facts: TaskFacts) -> Result:
        with closing(Log(self._folder.path / LOG)) as log:
            recorder = Recorder(self._folder, log, search, self._target, inference_lines(self._folder.path))
            interrupted = self._search_on(search, executor, facts, log, recorder)
            if search.broken is not None:
                raise self._broken(search.broken)
            if delivery(search)[1] is None:
                raise NoTrialError(_why_nothing(search))
            tested = {} if interrupted else self._test_delivered(search, executor)
            data = recorder.deliver(self._clock, "interrupted" if interrupted else "complete", tested)
        return Result(self._folder.path, data, None if isinstance(self._task, str) else self._task)

    def _test_delivered(self, search: Search, executor: TaskExecutor) -> Mapping[str, Any]:
        """Test a trial that is delivered instead of the final training, where the budget allows."""
        _, entry = delivery(search)
        assert entry is not None and search.plan is not None
        if entry.request.test or not search.plan.facts.n_test:
            return {}
        cost = search.plan.finalization(test=True) + Cost(seconds=SCORING_SECONDS)
        left = self._budget.less(search.spent(self._clock.now()) + cost)
        if left is None:
            return {}
        weights = self._folder.weights(entry.request.trial)
        try:
            return executor.score(entry.request.recipe, weights, cost.seconds + (left.seconds or 60.0))
        except TaskError:  # the run is complete without that score
            return {}

    def _broken(self, outcome: Outcome) -> TaskError:
        error = TaskError(f"plain training fails: {outcome.reason}", outcome.where or None)
        trace = self._folder.path / "trials" / "0000" / "log.txt"
        error.__cause__ = AutoaccelError(trace.read_text() if trace.exists() else outcome.reason)
        return error

    def _search_on(
        self, search: Search, executor: TaskExecutor, facts: TaskFacts, log: Log, recorder: Recorder
    ) -> bool:
        """Run until the search is done; returns whether somebody asked it to end before."""
        events, actions = replay(search, log.entries)
        if not log.entries:
            events = [Profiled(facts, self._resources.workers)]
        if self._view:
            self._show_plan(search, facts, log)
        listeners: list[Listener] = [recorder, *([self._view] if self._view else [])]
        with interrupts() as interrupted:
            Loop(search, executor, self._clock, listeners, interrupted, PATIENCE).run(events, actions)
            return interrupted()

    def _show_plan(self, search: Search, facts: TaskFacts, log: Log) -> None:
        assert self._view is not None
        if search.plan is None:
            spent = search.spent(self._clock.now())
            plan = make_plan(self._budget, facts, spent, self._resources.workers, reserve(self._budget))
            self._view.plan(plan.describe())
        for now, entry in log.entries:
            self._view.handle(entry, now)


def load_space(name: str, catalog: Catalog) -> SearchSpace:
    """A space that comes with autoaccel, or a YAML file.

    Raises:
        UsageError: With every fault of the file.
    """
    return SearchSpace.from_data(read_space(name), catalog, read_space, name)


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask the run to end with what it has; a second one ends it at once."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    old = {}
    with suppress(ValueError):  # not in the main thread: the caller handles signals
        old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def reserve(budget: Budget) -> float:
    """Seconds kept after the final training for the report, the last files and the end of the processes."""
    return 1.6 + 0.005 * budget.seconds if budget.seconds else 0.0


def _fingerprint(target: str, name: str, facts: TaskFacts, options: Options) -> str:
    digest = hashlib.sha256()
    path = Path(target.split(":")[0])
    if path.is_file():
        digest.update(path.read_bytes())
    digest.update(repr((read_space(name), facts.fingerprint, options.seed, options.metric)).encode())
    digest.update(__version__.encode())
    return digest.hexdigest()[:16]


def _environment() -> dict[str, str]:
    from importlib.metadata import version

    packages = {name: version(name) for name in ("torch", "accelerate", "optuna", "scikit-learn")}
    cores = str(os.cpu_count())
    return {"python": platform.python_version(), "platform": platform.platform(), "cores": cores, **packages}


def _why_nothing(search: Search) -> str:
    failed = [e for e in search.trials if e.outcome and e.outcome.reason]
    if not failed:
        return "the budget ended before one trial was completed"
    outcome = failed[0].outcome
    assert outcome is not None
    where = f" ({outcome.where})" if outcome.where else ""
    return f"no trial was completed; the first one was {outcome.kind.value}: {outcome.reason}{where}"
