"""The Python API: `tune`, `plan`, `forecast`, `train`, `resume` and `profile`."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget, parse_budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.paths import is_file, usable
from autoaccel.core.quantities import COUNTS
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.target import slug, split_target, target_name, task_ref
from autoaccel.core.yaml_file import read_text
from autoaccel.errors import UsageError
from autoaccel.execution.local.supervisor import Supervisor
from autoaccel.export.script import training_script
from autoaccel.reporting.terminal import Display
from autoaccel.search_spaces import read as read_space
from autoaccel.storage.choice import choose_fork, run_folder
from autoaccel.storage.folder import RunFolder, relocated
from autoaccel.storage.json_files import read_config
from autoaccel.tuner.config import read_options
from autoaccel.tuner.options import Options
from autoaccel.tuner.result import Result
from autoaccel.tuner.single import Training
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


def resume(
    run: str | Path,
    *,
    add_budget: str | None = None,
    quiet: bool = False,
    verbose: bool = False,
    elapsed: float = 0.0,
) -> Result:
    """Go on with the run in a folder, of `tune` or `train`, with the options that it was begun with.

    Args:
        run: The run folder.
        add_budget: What to add to its budget, such as `1h`.
        quiet: Show only notes.
        verbose: Show more trials.
        elapsed: Seconds of the budget that passed before this call.

    Raises:
        UsageError: If there is no such run, its task was made in a notebook, or something was changed meanwhile.
    """
    path = usable(run, "RUN")
    config = relocated(read_config(path), path)
    if "target" not in config or "budget" not in config:
        raise UsageError(f"{path} holds no run to resume")
    target, budget = config["target"], Budget(config["budget"])
    if not split_target(target)[0].endswith(".py") and "." not in target:
        raise UsageError(
            f"{path}: its task was made in Python; go on there: tune(task, budget, resume=True, out=...), or train"
        )
    if alone := config.get("training"):
        return train(
            target,
            Recipe.from_data(alone["recipe"]),
            budget,
            out=path,
            seed=alone["seed"],
            devices=alone["devices"],
            reference=alone["reference"],
            quiet=quiet,
            elapsed=elapsed,
            resume=True,
            add_budget=add_budget,
        )
    options = replace(read_options(config, path), add_budget=add_budget)
    view = Display(budget.plus(parse_budget(add_budget)) if add_budget else budget, quiet=quiet, verbose=verbose)
    return tune(target, budget, options=options, view=view, elapsed=elapsed)


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
    resume: bool = False,
    add_budget: str | None = None,
) -> Result:
    """Train one recipe with one budget, in its own process.

    As in the final training of `tune`, the result is the weights of the milestone with the best validation score.
    The first Ctrl-C asks the training to finish early: it anneals briefly and is saved with the status
    `interrupted`. The second one stops it at once. If its process dies, it goes on from its last checkpoint.

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
        resume: Go on with the unfinished training in `out`, or the last one of the task, from its last checkpoint.
        add_budget: What to add to the budget of the training that is resumed, such as `1h`.

    Raises:
        UsageError: If the budget, the recipe or an option is invalid.
        TaskError: If the user's file is at fault, or training with the recipe fails.
        PreemptedRunError: If it was asked to end by SIGTERM or SIGHUP.
    """
    clock = SystemClock(elapsed)
    budget = parse_budget(budget) if isinstance(budget, str) else budget
    more = parse_budget(add_budget) if add_budget else None
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    target = target_name(task)
    resources = Options(seed=seed, devices=devices).resources()
    run = None if reference is None else usable(reference, "--reference")
    view = Display(budget.plus(more) if more else budget, quiet=quiet)
    with run_folder(out, f"{slug(target)}-train", resume, single=True) as folder:
        if resume and folder.has_result():
            if more:
                raise UsageError(f"{folder.path}: the training has ended; train anew with a larger budget")
            return Result.load(folder.path, None if isinstance(task, str) else task)
        training = Training(target, recipe, budget, seed, devices, run, folder, clock, view, resume, more)
        with closing(Supervisor(task_ref(task, folder.path), resources, training.clock, folder.path)) as executor:
            data = training.go(executor)
        training.tidy()
        return Result(folder.path, data, None if isinstance(task, str) else task)


def check(task: Any, *, devices: str = "", seed: int = 0) -> list[str]:
    """Rehearse a task on a few samples, from loading the file to writing the script; return what was understood.

    Raises:
        TaskError: If a step fails; with the step, the user's line and what to write instead.
    """
    resources = Options(seed=seed, devices=devices, workers=1).resources()
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
    resources = Options(seed=seed, devices=devices, workers=1).resources()
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
