"""The steps of a run: the only module that connects search, execution and storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from autoaccel.core.budget import Budget, parse_budget
from autoaccel.core.catalog import Catalog
from autoaccel.core.clock import SystemClock, slowdown
from autoaccel.core.events import Extended, Profiled
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.resources import Resources
from autoaccel.errors import TaskError, UsageError
from autoaccel.execution.base import Executor
from autoaccel.execution.executors import find_executor
from autoaccel.reporting.memory import short
from autoaccel.reporting.terminal import Display
from autoaccel.search.base import Proposal, Search, SearchSettings
from autoaccel.search.searches import find_search
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.delivery import WEIGHTS
from autoaccel.storage.folder import RunFolder
from autoaccel.storage.json_files import read_config
from autoaccel.storage.loading import inference_lines
from autoaccel.storage.log import LOG, Log, scan_log
from autoaccel.storage.records import seconds_spent
from autoaccel.storage.space import Floors
from autoaccel.tuner.config import config
from autoaccel.tuner.earlier import Earlier
from autoaccel.tuner.failures import no_trial, plain_fails
from autoaccel.tuner.forecast_data import forecast_data, from_recorded
from autoaccel.tuner.forecast_scenario import Scenario
from autoaccel.tuner.goals import told
from autoaccel.tuner.identity import check_same, identity
from autoaccel.tuner.interrupts import PATIENCE, Interrupts, interrupts
from autoaccel.tuner.loop import Listener, Loop
from autoaccel.tuner.options import Options
from autoaccel.tuner.plan_view import PlanFirst
from autoaccel.tuner.recorder import Recorder
from autoaccel.tuner.replay import replay
from autoaccel.tuner.reserve import RESUMING, reserve, warm_up
from autoaccel.tuner.result import Result
from autoaccel.tuner.room import Room
from autoaccel.tuner.slots import requested
from autoaccel.tuner.space import DEFAULT_SPACES, run_space
from autoaccel.tuner.summary import delivery

LOADING_SHARE = 0.75
"""Largest share of the budget for importing torch and the task, which is aborted beyond it."""
PROFILE_SHARE = 0.5
"""Largest share of the budget for the profile, which is aborted beyond it."""
STARTING = 1.5
"""Seconds that a run takes to start, beside its profile."""
SCORING_SECONDS = 1.2
"""Seconds reserved for starting a process that scores, and for the last files."""


class Tuner:
    """Runs the steps of `tune`, which share the folder and the clock."""

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
        self._task, self._target, self._options = task, target, options
        more = parse_budget(options.add_budget) if options.add_budget else None
        self._given, self._budget = budget, budget.plus(more) if more else budget
        self._old = read_config(folder.path) if options.resume else {}
        self._folder, self._resources = folder, requested(resources, self._budget, self._old)
        log = scan_log(folder.path / LOG)
        self._entries = log.replayable() if options.resume else []
        before = seconds_spent(folder.path, self._entries)
        # A resumed run has only the rest of its budget left.
        self._before = before
        self._clock = SystemClock(clock.now() + before)
        self._view = view
        self._goal = options.goal()
        self._goal.check(budget)
        self._earlier = Earlier(options, budget, self._old)
        self._told: list[str] = []
        self._reserve = float(self._old.get("reserve", 0.0))
        self._note(*log.notes)

    def go(self) -> Result:
        """Profile, search, train and deliver; return the result."""
        with self._executor() as executor:
            warm_up()
            # A resumed run has something to deliver, also where its time is over meanwhile.
            catalog = executor.load(self._limit(LOADING_SHARE, RESUMING if self._entries else 0.1))
            facts, model_space = self._facts(executor)
            name, space, notes = self._space(catalog, facts, model_space)
            known, more = self._earlier.known(space, facts)
            self._note(*notes, *more)
            if not self._old:
                self._reserve = reserve(self._budget, slowdown())
            self._write_config(executor, name, facts, model_space, known)
            self._told = self._told_lines(executor, known, facts)
            return self._loop(self._search(space, known), space, executor, facts)

    def plan(self) -> list[str]:
        """Return what `go` would do, one line each."""
        return self._planned()[0]

    def forecast(self) -> tuple[list[str], dict[str, Any]]:
        """Return the plan, and what it would bring as plain data; see `forecast_data`."""
        if self._goal:  # none of the recorded tasks had one
            raise UsageError("a forecast is of the best metric only: leave out target, subject_to and objective")
        self._resources = replace(self._resources, sharing=True)  # a forecast may be for GPUs that are not there
        lines, facts, space, known, workers = self._planned()
        make, settings = find_search(self._options.search), self._settings(space, known)
        spent = min(self._clock.now(), facts.profile.seconds + STARTING)
        scenario = Scenario(make, settings, facts, workers, spent, reserve)
        return lines, forecast_data(from_recorded(scenario), facts)

    def _planned(self) -> tuple[list[str], TaskFacts, SearchSpace, list[Proposal], int]:
        with self._executor() as executor:
            catalog = executor.load(self._limit(LOADING_SHARE))
            facts, model_space = self._facts(executor)
        name, space, notes = self._space(catalog, facts, model_space)
        known, more = self._earlier.known(space, facts)
        search = self._search(space, known)
        search.handle(executor.slots.profiled(facts), self._clock.now())
        lines = [
            *facts.understood,
            *search.describe(),
            f"search space: {name}, {len(space.domains())} parameters",
            f"portfolio: {', '.join(space.portfolio) or 'none'}",
            *self._told_lines(executor, known, facts),
            *notes,
            *more,
        ]
        return lines, facts, space, known, executor.slots.count

    def _note(self, *lines: str) -> None:
        if self._view:
            for line in lines:
                self._view.note(line)

    def _executor(self) -> closing[Executor]:
        make = find_executor(self._options.executor)
        return closing(make(self._task, self._resources, self._clock, self._folder.path))

    def _facts(self, executor: Executor) -> tuple[TaskFacts, Mapping[str, Any]]:
        facts, model_space = self._profiled(executor)
        if self._options.max_epochs is not None and not facts.n_train:
            raise UsageError("--max-epochs needs the length of a pass, and this stream has none")
        self._goal.suits(facts)
        return facts, model_space

    def _profiled(self, executor: Executor) -> tuple[TaskFacts, Mapping[str, Any]]:
        for _, entry in self._entries if self._old else ():
            if isinstance(entry, Profiled):
                self._compare(executor, entry.facts)
                return entry.facts, self._old.get("model_space", {})
        return executor.profile(self._limit(PROFILE_SHARE))

    def _limit(self, share: float, least: float = 0.1) -> float | None:
        """Return the seconds of a share of the budget, as far as the end leaves them; None without a limit."""
        if not (seconds := self._budget.seconds):
            return None
        left = seconds - self._clock.now() - reserve(self._budget, slowdown())
        return max(least, min(share * seconds, left))

    def _compare(self, executor: Executor, facts: TaskFacts) -> None:
        """Refuse to go on with other data, code, options or another budget than the run was begun with."""
        data, files = executor.identify(None)
        space = self._options.space or DEFAULT_SPACES[facts.kind]
        now = identity(space, self._given, self._options, executor.slots, data, files)
        check_same(self._folder.path, self._old.get("identity", {}), now)

    def _space(
        self, catalog: Catalog, facts: TaskFacts, model_space: Mapping[str, Any]
    ) -> tuple[str, SearchSpace, list[str]]:
        return run_space(self._options.space, catalog, facts, model_space, self._goal.measures)

    def _search(self, space: SearchSpace, known: Sequence[Proposal]) -> Search:
        return find_search(self._options.search)(self._settings(space, known))

    def _settings(self, space: SearchSpace, known: Sequence[Proposal]) -> SearchSettings:
        # An extended run begins as it did, and hears then of its larger budget.
        options, budget = self._options, Budget(self._old.get("begun", self._budget))
        return SearchSettings(
            space=space,
            budget=budget,
            seed=options.seed,
            reserve=self._reserve or reserve(budget),
            sampler=options.sampler,
            known=tuple(known),
            longest=options.longest(),
            goal=self._goal,
        )

    def _told_lines(self, executor: Executor, known: Sequence[Proposal], facts: TaskFacts) -> list[str]:
        """Return where it trains, and what the user and earlier runs have told the search, one line each."""
        most = self._options.max_epochs
        longest = [] if most is None else [f"longest training: what plain takes for {most:g} epochs (--max-epochs)"]
        return [
            f"machine: {executor.machine}; {executor.slots}",
            *longest,
            *told(self._goal, facts),
            *(f"{proposal.origin}: {short(proposal.recipe)}" for proposal in known),
        ]

    def _write_config(
        self,
        executor: Executor,
        space: str,
        facts: TaskFacts,
        model_space: Mapping[str, Any],
        known: Sequence[Proposal],
    ) -> None:
        options, begun = self._options, Budget(self._old.get("begun", self._budget))
        place = executor.machine, executor.slots
        made = config(self._target, self._budget, options, *place, space, facts, model_space, known, begun)
        made |= {"folder": str(self._folder.path.resolve()), "reserve": self._reserve}
        self._folder.write_json("config.json", {**made, "started": self._old.get("started", made["started"])})

    def _loop(self, search: Search, space: SearchSpace, executor: Executor, facts: TaskFacts) -> Result:
        with closing(Log(self._folder.path / LOG)) as log:
            load = inference_lines(self._folder.path)
            recorder = Recorder(
                self._folder,
                log,
                search,
                space,
                self._budget,
                self._target,
                load,
                self._clock,
                self._goal,
                self._note,
            )
            with interrupts() as asked:
                self._search_on(search, executor, facts, log, recorder, asked)
                status = "complete" if not asked() else "preempted" if asked.terminated else "interrupted"
                if search.failure is not None:
                    raise plain_fails(self._folder.path, search.failure)
                if delivery(search, self._goal)[1] is None:
                    raise no_trial(self._folder.path, search, status)
                tested = {} if asked() else self._test_delivered(search, executor)
                data = recorder.deliver(status, tested)
                if not asked():
                    self._note(*self._earlier.remember(search))
        return Result(self._folder.path, data, None if isinstance(self._task, str) else self._task)

    def _test_delivered(self, search: Search, executor: Executor) -> Mapping[str, Any]:
        """Test a trial that is delivered instead of the final training, if the budget allows."""
        _, record = delivery(search, self._goal)
        facts = search.trials.facts
        assert record is not None and facts is not None
        if record.request.test or not facts.n_test:
            return {}
        cost = facts.finalization_cost(test=True) + Cost(seconds=SCORING_SECONDS)
        left = self._budget.less(search.trials.run_cost(self._clock.now()) + cost)
        if left is None:
            return {}
        weights = self._folder.weights(record.number)
        try:
            return executor.score(record.request.recipe, weights, cost.seconds + (left.seconds or 60.0))
        except TaskError:  # the run is complete without that score
            return {}

    def _search_on(
        self,
        search: Search,
        executor: Executor,
        facts: TaskFacts,
        log: Log,
        recorder: Recorder,
        asked: Interrupts,
    ) -> None:
        """Run until the search is done."""
        events, starts = replay(search, log.entries, self._before, self._folder.saved)
        if not log.entries:
            events = [executor.slots.profiled(facts)]
        elif self._budget != self._given:
            events.append(Extended(self._budget))
        listeners: list[Listener] = [recorder]
        if self._view:
            listeners.append(PlanFirst(self._view, search, facts.understood, self._told))
            for now, entry in log.entries:
                self._view.handle(entry, now)
        room = Room(Floors(self._folder.path, WEIGHTS), self._clock)
        news = lambda: [*recorder.news(), *room.news()]  # noqa: E731
        Loop(search, executor, self._clock, listeners, asked, PATIENCE, news).run(events, starts)
