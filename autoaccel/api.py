"""What users call: `tune`, `train`, `profile`, `Result`. The only place that wires the parts together."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoaccel import __version__, space
from autoaccel.budget import Budget, Cost, parse_budget
from autoaccel.catalog import Catalog
from autoaccel.clock import SystemClock, timestamp
from autoaccel.display import Display
from autoaccel.errors import NoTrialError, TaskError, UsageError
from autoaccel.execution.supervisor import Place, Supervisor, TaskRef
from autoaccel.keeper import Keeper
from autoaccel.recipe import PLAIN, Recipe
from autoaccel.results import delivery, leaderboard
from autoaccel.run import Listener, Loop, replay
from autoaccel.search.plan import make_plan
from autoaccel.search.search import Search
from autoaccel.search_spaces import read as read_space
from autoaccel.store.folder import RunFolder, choose_folder, read_json
from autoaccel.store.log import Log, read_log
from autoaccel.store.record import trial_records
from autoaccel.trial import Finished, OutcomeKind, Profiled, Purpose, TaskFacts, TrialRequest

PATIENCE = 0.5
DEFAULT_SPACES = {"image": "vision", "tokens": "text", "table": "tabular", "series": "tabular"}


class SearchSpace(space.SearchSpace):
    """A search space that can be loaded by name."""

    @classmethod
    def load(cls, name: str, catalog: Catalog | None = None) -> space.SearchSpace:
        """A space that comes with autoaccel, or a YAML file.

        Args:
            name: `vision`, `text`, `tabular`, or a path.
            catalog: The known techniques; all that are installed when missing, which imports torch.

        Raises:
            UsageError: With every fault of the file.
        """
        if catalog is None:
            # Imported here: under the command line this process never loads torch.
            from autoaccel.techniques.registry import catalog as installed

            catalog = installed()
        return space.SearchSpace.from_data(read_space(name), catalog, read_space, name)


@dataclass(frozen=True)
class Options:
    """How a run is to be made; the defaults are those of the command line.

    Args:
        space: Name or file of the search space; by the kind of the inputs when missing.
        metric: Overrides the task's metric.
        out: The run folder; `runs/NAME` when missing.
        seed: Seeds the split, the search and every trial.
        resume: Go on with an unfinished run.
        devices: GPU numbers such as `0,1`, or `cpu`.
        workers: Trials side by side.
    """

    space: str | None = None
    metric: str | None = None
    out: Path | None = None
    seed: int = 0
    resume: bool = False
    devices: str = ""
    workers: int = 1

    def place(self) -> Place:
        """What the workers run on.

        Raises:
            UsageError: If the devices or the number of workers make no sense.
        """
        if self.workers < 1:
            raise UsageError(f"--workers must be at least 1, got {self.workers}")
        numbers = tuple(d for d in self.devices.split(",") if d) if self.devices != "cpu" else ()
        if not all(number.isdecimal() for number in numbers):
            raise UsageError(f"--devices takes numbers such as 0,1 or cpu, got {self.devices!r}")
        workers = max(self.workers, len(numbers))
        return Place(numbers, self.devices == "cpu", workers, self.seed, self.metric)


@dataclass(frozen=True)
class Result:
    """What a run has given.

    Args:
        folder: Where everything is.
        data: The contents of `result.json`.
    """

    folder: Path
    data: Mapping[str, Any]
    _task: Any = field(default=None, repr=False)

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
        from autoaccel.training.discovery import load_target, resolve

        task = resolve(self._task if not isinstance(self._task, str) else load_target(self._task))
        model = task.model(**self.best_recipe.model)
        load_weights(model, self.folder / "model.safetensors")
        return model.eval()

    def leaderboard(self) -> Any:
        """Complete trials, best first: a pandas DataFrame where pandas is installed, else a list of dicts."""
        _, records = trial_records(read_log(self.folder / "events.log"))
        rows = leaderboard(records, self.data["metric"]["direction"] == "max")
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def report(self) -> Path:
        """The path of the HTML report."""
        return self.folder / "report.html"


def tune(
    task: Any,
    budget: str | Budget,
    *,
    options: Options | None = None,
    view: Display | None = None,
    elapsed: float = 0.0,
    **chosen: Any,
) -> Result:
    """Search a recipe and train it, everything inside the budget.

    Args:
        task: A `Task`, a function that returns one, or `model.py`, `model.py:name`, `package.module:name`.
        budget: `4h`, `2e18 FLOPs`, or both joined by `or`.
        options: See `Options`; or give its fields as keywords.
        view: Shows the run while it goes on.
        elapsed: Seconds of the budget that had passed before this call.

    Raises:
        UsageError: The budget, an option or a YAML file.
        TaskError: The user's file, data, loss or metric.
        NoTrialError: Nothing was completed.
    """
    clock = SystemClock(elapsed)
    options = options or Options(**chosen)
    budget = parse_budget(budget) if isinstance(budget, str) else budget
    if budget.seconds is None and budget.flops is None:
        raise UsageError(f"tune needs a budget in seconds or FLOPs, got {budget}")
    place = options.place()
    target = task if isinstance(task, str) else getattr(task, "__name__", "task")
    path = choose_folder(options.out, _slug(target), options.resume)
    fresh = not path.exists()
    folder = RunFolder(path)
    try:
        run = _Run(task, target, budget, options, place, folder, clock, view)
        return run.go()
    except (UsageError, TaskError):
        if fresh:
            folder.remove()
        raise
    finally:
        folder.close()


class _Run:
    """The steps of `tune`, which share the folder and the clock."""

    def __init__(
        self,
        task: Any,
        target: str,
        budget: Budget,
        options: Options,
        place: Place,
        folder: RunFolder,
        clock: SystemClock,
        view: Display | None,
    ):
        self._task, self._target, self._budget, self._options = task, target, budget, options
        self._folder, self._place = folder, place
        self._old = read_json(folder.path / "config.json") if options.resume else {}
        entries = read_log(folder.path / "events.log") if options.resume else []
        spent = read_json(folder.path / "account.json").get("seconds", 0.0)
        before = max([spent, *(now for now, _ in entries)]) if entries else spent
        # What was spent is spent: a resumed run goes on with what is left.
        self._clock = SystemClock(clock.now() + before)
        self._view = view

    def go(self) -> Result:
        """Run to the end."""
        executor = Supervisor(task_ref(self._task, self._folder.path), self._place, self._clock, self._folder.path)
        try:
            catalog = executor.load()
            facts, model_space = self._facts(executor)
            search = self._search(catalog, facts, model_space)
            self._write_config(model_space, search)
            return self._loop(search, executor, facts)
        finally:
            executor.close()

    def _facts(self, executor: Supervisor) -> tuple[TaskFacts, Mapping[str, Any]]:
        entries = read_log(self._folder.path / "events.log") if self._old else []
        for _, entry in entries:
            if isinstance(entry, Profiled):
                return entry.facts, self._old["model_space"]
        return executor.profile(0.5 * self._budget.seconds if self._budget.seconds else None)

    def _search(self, catalog: Catalog, facts: TaskFacts, model_space: Mapping[str, Any]) -> Search:
        name = self._options.space or DEFAULT_SPACES[facts.kind]
        whole = SearchSpace.load(name, catalog).with_model(space.model_axes(model_space))
        fitted, notes = whole.for_task(facts.traits)
        if self._view:
            for note in notes:
                self._view.note(note)
        self._fingerprint = _fingerprint(self._target, name, facts, self._options)
        if self._old and self._old.get("fingerprint") != self._fingerprint:
            raise UsageError(
                f"{self._folder.path} was made with another task file, space, seed, metric or version; "
                "choose another folder with --out"
            )
        return Search(fitted, self._budget, self._options.seed, _reserve(self._budget))

    def _write_config(self, model_space: Mapping[str, Any], search: Search) -> None:
        self._folder.write_json(
            "config.json",
            {
                "schema": 1,
                "autoaccel": __version__,
                "target": str(Path(self._target).resolve()) if self._target.endswith(".py") else self._target,
                "budget": self._budget.to_data(),
                "space": self._options.space,
                "model_space": dict(model_space),
                "metric": self._options.metric,
                "seed": self._options.seed,
                "devices": self._options.devices,
                "workers": self._place.workers,
                "fingerprint": self._fingerprint,
                "started": self._old.get("started", timestamp()),
                "environment": _environment(),
            },
        )

    def _loop(self, search: Search, executor: Supervisor, facts: TaskFacts) -> Result:
        log = Log(self._folder.path / "events.log")
        events, actions = replay(search, log.entries)
        if not log.entries:
            events = [Profiled(facts, self._place.workers)]
        if self._view and search.plan is None:
            self._view.plan(make_plan(self._budget, facts, search.spent(self._clock.now()), self._place.workers,
                                      _reserve(self._budget)).describe())  # fmt: skip
        if self._view:
            for now, entry in log.entries:
                self._view.handle(entry, now)
        keeper = Keeper(self._folder, log, search, self._target, _code(self._target))
        listeners: list[Listener] = [keeper, *([self._view] if self._view else [])]
        with _interrupts() as interrupted:
            Loop(search, executor, self._clock, listeners, interrupted, PATIENCE).run(events, actions)
        status = "interrupted" if interrupted() else "complete"
        if delivery(search)[1] is None:
            log.close()
            raise NoTrialError(_why_nothing(search))
        data = keeper.deliver(self._clock, status)
        log.close()
        return Result(self._folder.path, data, self._task if not isinstance(self._task, str) else self._target)


def plan(task: Any, budget: Budget, *, options: Options | None = None, elapsed: float = 0.0) -> list[str]:
    """What `tune` would do with a budget, a line each; nothing is left behind.

    Raises:
        UsageError: The budget or an option.
        TaskError: The user's file, data, loss or metric.
    """
    options = options or Options()
    clock = SystemClock(elapsed)
    with tempfile.TemporaryDirectory() as folder:
        executor = Supervisor(task_ref(task, Path(folder)), options.place(), clock, Path(folder))
        try:
            catalog = executor.load()
            facts, _ = executor.profile(budget.seconds)
            name = options.space or DEFAULT_SPACES[facts.kind]
            fitted, notes = SearchSpace.load(name, catalog).for_task(facts.traits)
            spent = Cost(seconds=clock.now())
            planned = make_plan(budget, facts, spent, options.place().workers, _reserve(budget))
            recipes = f"known-good recipes: {', '.join(fitted.known_good) or 'none'}"
            return [
                *planned.describe(),
                f"search space: {name}, {len(fitted.domains())} parameters",
                recipes,
                *notes,
            ]
        finally:
            executor.close()


def train(
    task: Any,
    recipe: Recipe | str,
    budget: str | Budget,
    *,
    out: Path | None = None,
    seed: int = 0,
    devices: str = "",
    elapsed: float = 0.0,
) -> Result:
    """Train one recipe with one budget, in a process of its own.

    Args:
        task: As for `tune`.
        recipe: A `Recipe`, a YAML file, or `plain` or `plain_constant`.
        budget: As for `tune`; epochs, steps and samples are limits too.
        out: The run folder; `runs/NAME-train` when missing.
        seed: Seeds the split and the training.
        devices: GPU numbers, or `cpu`.
        elapsed: Seconds of the budget that had passed before this call.

    Raises:
        UsageError: The budget, the recipe or an option.
        TaskError: The user's file, or the recipe fails on it.
    """
    clock = SystemClock(elapsed)
    budget = parse_budget(budget) if isinstance(budget, str) else budget
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    target = task if isinstance(task, str) else getattr(task, "__name__", "task")
    folder = RunFolder(choose_folder(out, f"{_slug(target)}-train", resume=False))
    executor = Supervisor(
        task_ref(task, folder.path), Options(seed=seed, devices=devices).place(), clock, folder.path
    )
    try:
        executor.load()
        left = budget
        if budget.seconds:
            left = budget.less(Cost(seconds=clock.now() + 0.4)) or budget
        request = TrialRequest(0, recipe, left, Purpose.FINAL, seed, test=True, origin="given")
        executor.start(request)
        events = list(_until_finished(executor))
        outcome = next(event.outcome for event in events if isinstance(event, Finished))
        if outcome.kind is not OutcomeKind.COMPLETE or outcome.final is None:
            raise TaskError(f"training ended as {outcome.kind.value}: {outcome.reason}", outcome.where or None)
        folder.deliver_weights(0)
        folder.drop_weights(set())
        final = outcome.final
        data = {
            "schema": 1,
            "status": "complete",
            "headline": f"Trained {outcome.cost.steps:.0f} steps, validation loss {final.loss:.4g}.",
            "metric": {"name": "metric", "direction": "min"},
            "final": {
                "budget": str(budget),
                "validation": {"metric": final.metric, "loss": final.loss, "noise": final.noise},
                "test": dict(outcome.test) or None,
            },
            "recipe": recipe.to_data(),
            "spent": {"final": {"seconds": outcome.cost.seconds, "flops": outcome.cost.flops}},
        }
        folder.write("recipe.yaml", recipe.to_yaml())
        folder.write_json("result.json", data)
        return Result(folder.path, data, task)
    finally:
        executor.close()
        folder.close()


def profile(task: Any, *, devices: str = "", seed: int = 0) -> list[Mapping[str, Any]]:
    """Seconds, FLOPs and memory of a training step of the plain recipe, by batch size.

    Raises:
        TaskError: If the task cannot be trained.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Options(seed=seed, devices=devices).place()
        executor = Supervisor(task_ref(task, Path(folder)), place, SystemClock(), Path(folder))
        try:
            executor.load()
            return executor.sizes()
        finally:
            executor.close()


def read_recipe(name: str) -> Recipe:
    """A recipe by the name of a plain one, or from a YAML or JSON file.

    Raises:
        UsageError: With every fault of the file.
    """
    if name in PLAIN:
        return PLAIN[name]
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"no recipe {name!r}: a YAML file, or one of {', '.join(PLAIN)}")
    return Recipe.from_yaml(path.read_text(), name)


def task_ref(task: Any, folder: Path) -> TaskRef:
    """How the template finds the task: by name, or pickled by value where it was made in this process."""
    if isinstance(task, str):
        return TaskRef(task)
    import cloudpickle

    path = folder / "task.pickle"
    path.write_bytes(cloudpickle.dumps(task))
    return TaskRef(getattr(task, "__name__", "task"), str(path.resolve()))


def _until_finished(executor: Supervisor) -> Iterator[Any]:
    while True:
        for event in executor.poll(PATIENCE):
            yield event
            if isinstance(event, Finished):
                return


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
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


def _reserve(budget: Budget) -> float:
    return 1.6 + 0.005 * budget.seconds if budget.seconds else 0.0


def _slug(target: str) -> str:
    stem = Path(target.split(":")[0]).stem if ".py" in target else target.split(":")[0].rpartition(".")[2]
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem) or "run"


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


def _code(target: str) -> str:
    """Five lines that load the delivered model."""
    place, _, name = target.partition(":")
    module = Path(place).stem if place.endswith(".py") else place
    path = [f"sys.path.insert(0, {str(Path(place).resolve().parent)!r})"] if place.endswith(".py") else []
    return "\n".join(
        [
            "import json, sys",
            *path,
            f"from {module} import {name or 'task'} as task",
            "from safetensors.torch import load_model",
            "recipe = json.load(open('result.json'))['recipe']",
            "model = task.model(**recipe['model']).eval()",
            "load_model(model, 'model.safetensors')",
        ]
    )


def _why_nothing(search: Search) -> str:
    failed = [e for e in search.entries.values() if e.outcome and e.outcome.reason]
    if not failed:
        return "the budget ended before one trial was completed"
    outcome = failed[0].outcome
    assert outcome is not None
    where = f" ({outcome.where})" if outcome.where else ""
    return f"no trial was completed; the first one was {outcome.kind.value}: {outcome.reason}{where}"
