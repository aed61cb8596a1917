"""The Python API: `tune`, `plan`, `forecast`, `train` and `profile`."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget, parse_budget
from autoaccel.core.catalog import check as faults_of
from autoaccel.core.catalog import misplaced
from autoaccel.core.clock import SystemClock
from autoaccel.core.paths import is_file, missing, remove_empty, usable
from autoaccel.core.quantities import COUNTS
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.target import slug, split_target, target_name, task_ref
from autoaccel.core.trial import Purpose, Reference, TrialRequest
from autoaccel.core.yaml_file import read_text
from autoaccel.errors import TaskError, UsageError
from autoaccel.execution.local.supervisor import Supervisor
from autoaccel.export.script import training_script
from autoaccel.reporting.terminal import Display
from autoaccel.search_spaces import read as read_space
from autoaccel.storage.folder import RunFolder, choose_folder, choose_fork, relocated
from autoaccel.storage.json_files import read_config
from autoaccel.tuner.config import read_options
from autoaccel.tuner.options import Options
from autoaccel.tuner.result import Result
from autoaccel.tuner.single import train_alone, training_data
from autoaccel.tuner.tuner import Tuner


def tune(
    task: Any,
    budget: str | Budget,
    *,
    options: Options | None = None,
    view: Display | None = None,
    quiet: bool = False,
    elapsed: float = 0.0,
    **chosen: Any,
) -> Result:
    """Search for a recipe and train the model with it, all within the budget.

    Args:
        task: A `Task`, a function that returns one, or `model.py`, `model.py:name`, `package.module:name`.
        budget: `4h`, `2e18 FLOPs`, or both joined by `or`.
        options: See `Options`; alternatively pass its fields as keyword arguments.
        view: Shows the run as it progresses; a `Display` on stderr if None.
        quiet: Show only notes.
        elapsed: Seconds of the budget that passed before this call.
        chosen: Fields of `Options`, if `options` is None.

    Raises:
        UsageError: If the budget, an option or a YAML file is invalid.
        TaskError: If the user's file, data, loss or metric is at fault.
        NoTrialError: If no trial was completed.
    """
    clock = SystemClock(elapsed)
    options = options or Options(**chosen)
    budget = parse_budget(budget) if isinstance(budget, str) else budget
    if not budget or not COUNTS.isdisjoint(budget):
        raise UsageError(f"tune needs a budget in seconds or FLOPs, got {budget}")
    resources = options.resources()
    target = target_name(task)
    if options.space:
        read_space(options.space)
    if options.fork:
        latest, path = choose_fork(Path(options.out) if options.out else None, slug(target))
        options = replace(options, fork=False, resume=False, warm_start=latest, out=path)
    with (
        closing(view or Display(budget, quiet=quiet)) as shown,
        run_folder(options.out, slug(target), options.resume) as folder,
    ):
        return Tuner(task, target, budget, options, resources, folder, clock, shown).go()


def resumed(run: Path) -> tuple[str, Budget, Options]:
    """Return the task, the budget and the options with which `tune` goes on with an unfinished run.

    Raises:
        UsageError: If there is no such run, or its task was made in a notebook.
    """
    config = relocated(read_config(run), run)
    if "target" not in config or "budget" not in config:
        raise UsageError(f"{run} holds no run to resume")
    if not split_target(config["target"])[0].endswith(".py") and "." not in config["target"]:
        raise UsageError(
            f"{run}: its task was made in Python; go on there: tune(task, budget, resume=True, out=...)"
        )
    return config["target"], Budget(config["budget"]), read_options(config, run)


@contextmanager
def run_folder(out: str | Path | None, name: str, resume: bool = False) -> Iterator[RunFolder]:
    """Lock the folder of a run; if it is new and the run fails without a result, remove what was made for it."""
    path = choose_folder(usable(out, "--out") if out else None, name, resume)
    made = missing(path)
    try:
        with closing(RunFolder(path)) as folder:
            try:
                yield folder
            except BaseException as error:
                useless = isinstance(error, UsageError | TaskError) or not folder.has_log()
                if path in made and useless and not folder.has_result():
                    folder.remove()
                raise
    except BaseException:
        remove_empty(made)
        raise


def plan(task: Any, budget: Budget, *, options: Options | None = None, elapsed: float = 0.0) -> list[str]:
    """Return what `tune` would do with a budget, one line each; leaves no files behind.

    Raises:
        UsageError: If the budget or an option is invalid.
        TaskError: If the user's file, data, loss or metric is at fault.
    """
    with _planner(task, budget, options or Options(), elapsed) as tuner:
        return tuner.plan()


def forecast(
    task: Any,
    budget: str | Budget,
    *,
    options: Options | None = None,
    elapsed: float = 0.0,
) -> tuple[list[str], dict[str, Any]]:
    """Return the plan, and what half, once and twice the budget would bring; trains nothing and leaves no files.

    Args:
        task: As for `tune`.
        budget: As for `tune`.
        options: As for `tune`.
        elapsed: As for `tune`.

    Returns:
        The lines of `plan`, and plain data; see `autoaccel.tuner.forecast_data.forecast_data`.

    Raises:
        UsageError: If the budget or an option is invalid, or there is a target, constraint or second objective.
        TaskError: If the user's file, data, loss or metric is at fault.
    """
    budget = parse_budget(budget) if isinstance(budget, str) else budget
    with _planner(task, budget, options or Options(), elapsed) as tuner:
        return tuner.forecast()


@contextmanager
def _planner(task: Any, budget: Budget, options: Options, elapsed: float) -> Iterator[Tuner]:
    """Give a tuner whose folder is gone afterwards."""
    with tempfile.TemporaryDirectory() as name, closing(RunFolder(Path(name) / "run")) as folder:
        clock, resources = SystemClock(elapsed), options.resources()
        yield Tuner(task, target_name(task), budget, options, resources, folder, clock, None)


def train(
    task: Any,
    recipe: Recipe | str,
    budget: str | Budget,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    devices: str = "",
    reference: str | Path | None = None,
    quiet: bool = False,
    elapsed: float = 0.0,
) -> Result:
    """Train one recipe with one budget, in its own process.

    As in the final training of `tune`, the result is the weights of the milestone with the best validation score.
    The first Ctrl-C asks the training to finish early: it anneals briefly and is saved with the status
    `interrupted`. The second one stops it at once.

    Args:
        task: As for `tune`.
        recipe: A `Recipe`, a YAML file, or `plain` or `plain_constant`.
        budget: As for `tune`; epochs, steps and samples are limits too.
        out: The run folder; `runs/NAME-train` if None.
        seed: Seed of the split and the training.
        devices: GPU numbers, or `cpu`.
        reference: The folder of a run whose model the recipe learns from, if it needs one.
        quiet: Show only notes.
        elapsed: Seconds of the budget that passed before this call.

    Raises:
        UsageError: If the budget, the recipe or an option is invalid.
        TaskError: If the user's file is at fault, or training with the recipe fails.
    """
    clock = SystemClock(elapsed)
    budget = parse_budget(budget) if isinstance(budget, str) else budget
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    target = target_name(task)
    resources = Options(seed=seed, devices=devices).resources()
    run = None if reference is None else usable(reference, "--reference")
    with run_folder(out, f"{slug(target)}-train") as folder:
        with closing(Supervisor(task_ref(task, folder.path), resources, clock, folder.path)) as executor:
            known = executor.load(budget.seconds)
            misfits = misplaced(recipe.components(), recipe.techniques, known)
            if faults := misfits + faults_of(recipe.chosen(), known):
                raise UsageError("\n  ".join(["this recipe cannot be trained:", *faults]))
            names = executor.check(budget.seconds)["names"]
            learned_from = None if run is None else _reference(run)
            # Without a profile, the trial itself finds out how often it can evaluate.
            request = TrialRequest(0, recipe, budget, Purpose.FINAL, seed, milestones=(), test=True, origin="given")
            request = replace(request, reference=learned_from, keep_best=True)
            outcome = train_alone(executor, request, clock, Display(budget, quiet=quiet))
        data = training_data(outcome, recipe, budget, target, folder.path, names)
        data = folder.deliver(data, recipe.to_yaml(), 0)
        folder.drop_weights(set())
        folder.drop_checkpoints(set())
        return Result(folder.path, data, None if isinstance(task, str) else task)


def _reference(run: Path) -> Reference:
    weights, recipe = Result.load(run).weights()
    return Reference(recipe, weights=str(weights.resolve()))


def check(task: Any, *, devices: str = "", seed: int = 0) -> list[str]:
    """Rehearse a task on a few samples, from loading the file to writing the script; return what was understood.

    Raises:
        TaskError: If a step fails; with the step, the user's line and what to write instead.
    """
    resources = Options(seed=seed, devices=devices).resources()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(Supervisor(task_ref(task, folder), resources, SystemClock(), folder)) as executor:
            executor.load(None)
            checked = executor.check(None)
    ast.parse(training_script(PLAIN["plain"], target_name(task), seed, {}))
    return list(checked["lines"])


def profile(task: Any, *, devices: str = "", seed: int = 0) -> list[Mapping[str, Any]]:
    """Return the seconds, FLOPs and memory of a training step of the plain recipe, by batch size.

    Raises:
        TaskError: If the task cannot be trained.
    """
    resources = Options(seed=seed, devices=devices).resources()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(Supervisor(task_ref(task, folder), resources, SystemClock(), folder)) as executor:
            executor.load(None)
            return executor.sizes()


def read_recipe(name: str) -> Recipe:
    """Read a recipe: a plain one by name, or a YAML or JSON file.

    Raises:
        UsageError: If there is no such recipe, or with all faults of the file.
    """
    if name in PLAIN:
        return PLAIN[name]
    path = Path(name)
    if not is_file(path):
        raise UsageError(f"no recipe {name!r}: a YAML file, or one of {', '.join(PLAIN)}")
    return Recipe.from_yaml(read_text(path, name), name)
