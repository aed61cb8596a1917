"""What users call from Python: `tune`, `plan`, `train`, `profile` and `SearchSpace`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget, Cost, parse_budget
from autoaccel.core.catalog import Catalog
from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Finished, Reported
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.target import slug, target_name, task_ref
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Reference, TrialRequest
from autoaccel.errors import TaskError, UsageError
from autoaccel.execution.local.supervisor import Supervisor
from autoaccel.reporting.terminal import Display
from autoaccel.search.plan import make_plan
from autoaccel.search_spaces import read as read_space
from autoaccel.spaces import space
from autoaccel.storage.folder import RunFolder, choose_folder
from autoaccel.tuner.options import Options
from autoaccel.tuner.result import Result, inference_lines
from autoaccel.tuner.tuner import DEFAULT_SPACES, PATIENCE, Tuning, interrupts, load_space, reserve

TRAIN_RESERVE = 0.9
"""Seconds of `train`'s budget that are kept for the end of its processes."""


class SearchSpace(space.SearchSpace):
    """A search space that can be loaded by name."""

    @classmethod
    def load(cls, name: str, catalog: Catalog | None = None) -> SearchSpace:
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
        return cls.from_data(read_space(name), catalog, read_space, name)


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
    """Search a recipe and train it, everything inside the budget.

    Args:
        task: A `Task`, a function that returns one, or `model.py`, `model.py:name`, `package.module:name`.
        budget: `4h`, `2e18 FLOPs`, or both joined by `or`.
        options: See `Options`; or give its fields as keywords.
        view: Shows the run while it goes on; lines on stderr when missing.
        quiet: Show nothing.
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
    resources = options.resources()
    target = target_name(task)
    if options.space:
        read_space(options.space)
    with (
        closing(view or Display(budget, quiet=quiet)) as shown,
        run_folder(options.out, slug(target), options.resume) as folder,
    ):
        return Tuning(task, target, budget, options, resources, folder, clock, shown).go()


@contextmanager
def run_folder(out: str | Path | None, name: str, resume: bool = False) -> Iterator[RunFolder]:
    """The folder of a run under its lock; a new one in which nothing came to anything is removed again."""
    path = choose_folder(Path(out) if out else None, name, resume)
    fresh = not path.exists()
    folder = RunFolder(path)
    with closing(folder):
        try:
            yield folder
        except BaseException as error:
            useless = isinstance(error, UsageError | TaskError) or not folder.has_log()
            if fresh and useless and not folder.has_result():
                folder.remove()
            raise


def plan(task: Any, budget: Budget, *, options: Options | None = None, elapsed: float = 0.0) -> list[str]:
    """What `tune` would do with a budget, a line each; nothing is left behind.

    Raises:
        UsageError: The budget or an option.
        TaskError: The user's file, data, loss or metric.
    """
    options = options or Options()
    clock = SystemClock(elapsed)
    with _measuring(task, options, clock) as executor:
        catalog = executor.load(budget.seconds)
        facts, _ = executor.profile(budget.seconds)
        name = options.space or DEFAULT_SPACES[facts.kind]
        fitted, notes = load_space(name, catalog).for_task(facts.capabilities)
        spent = Cost(seconds=clock.now())
        planned = make_plan(budget, facts, spent, options.resources().workers, reserve(budget))
        recipes = f"portfolio: {', '.join(fitted.portfolio) or 'none'}"
        return [
            *planned.describe(),
            f"search space: {name}, {len(fitted.domains())} parameters",
            recipes,
            *notes,
        ]


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
    """Train one recipe with one budget, in a process of its own.

    The first Ctrl-C asks the training to finish now: it anneals over a little more and is saved, with the status
    `interrupted`. The second one stops it at once.

    Args:
        task: As for `tune`.
        recipe: A `Recipe`, a YAML file, or `plain` or `plain_constant`.
        budget: As for `tune`; epochs, steps and samples are limits too.
        out: The run folder; `runs/NAME-train` when missing.
        seed: Seeds the split and the training.
        devices: GPU numbers, or `cpu`.
        reference: The folder of a run whose model the recipe learns from, where it needs one.
        quiet: Show nothing.
        elapsed: Seconds of the budget that had passed before this call.

    Raises:
        UsageError: The budget, the recipe or an option.
        TaskError: The user's file, or the recipe fails on it.
    """
    clock = SystemClock(elapsed)
    budget = parse_budget(budget) if isinstance(budget, str) else budget
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    target = target_name(task)
    resources = Options(seed=seed, devices=devices).resources()
    with run_folder(out, f"{slug(target)}-train") as folder:
        with closing(Supervisor(task_ref(task, folder.path), resources, clock, folder.path)) as executor:
            executor.load(budget.seconds)
            request = TrialRequest(
                0, recipe, budget, Purpose.FINAL, seed, (0.5, 1.0), test=True, origin="given",
                reference=None if reference is None else _reference(Path(reference)),
            )  # fmt: skip
            outcome = _train(executor, request, clock, Display(budget, quiet=quiet))
        folder.deliver_weights(0)
        folder.drop_weights(set())
        data = _trained(outcome, recipe, budget, target, folder.path)
        folder.write("recipe.yaml", recipe.to_yaml())
        folder.write_json("result.json", data)
        return Result(folder.path, data, None if isinstance(task, str) else task)


def _reference(run: Path) -> Reference:
    result = Result.load(run)
    return Reference(result.best_recipe, weights=str((run / "model.safetensors").resolve()))


def _train(executor: Supervisor, request: TrialRequest, clock: SystemClock, view: Display) -> Outcome:
    budget = request.budget
    if budget.seconds:
        budget = budget.less(Cost(seconds=clock.now() + TRAIN_RESERVE)) or budget
    request, started, asked = replace(request, budget=budget), clock.now(), False
    # It ends by itself, and nobody kills it: there would be nothing to show for the budget.
    executor.start(request)
    with interrupts() as interrupted:
        while True:
            if interrupted() and not asked:
                asked = True
                executor.finish_early(request.trial)
                view.finishing(request, started, clock.now())
            for event in executor.poll(PATIENCE):
                if isinstance(event, Reported):
                    view.report(event.report, clock.now())
                    executor.proceed(event.report.trial)
                if isinstance(event, Finished):
                    return _completed(event.outcome)


def _completed(outcome: Outcome) -> Outcome:
    if outcome.kind is not OutcomeKind.COMPLETE or outcome.final is None:
        raise TaskError(f"training ended as {outcome.kind.value}: {outcome.reason}", outcome.where or None)
    if outcome.reason and not outcome.cost.steps:
        raise KeyboardInterrupt  # asked to finish before its first step: there is nothing worth keeping
    return outcome


def _trained(outcome: Outcome, recipe: Recipe, budget: Budget, target: str, folder: Path) -> dict[str, Any]:
    final = outcome.final
    assert final is not None
    return {
        "schema": 1,
        "status": "interrupted" if outcome.reason else "complete",
        "headline": f"Trained {outcome.cost.steps:.0f} steps: {outcome.metric} {final.metric:.4g}, "
        f"loss {final.loss:.4g} on the validation set.",
        "metric": {"name": outcome.metric},
        "final": {
            "budget": str(budget),
            "validation": {"metric": final.metric, "loss": final.loss, "standard_error": final.standard_error},
            "test": dict(outcome.test) or None,
            "cost": asdict(outcome.cost),
            "reason": outcome.reason,
        },
        "recipe": recipe.to_data(),
        "target": target,
        "load": inference_lines(folder),
        "spent": {"final": {"seconds": outcome.cost.seconds, "flops": outcome.cost.flops}},
    }


def profile(task: Any, *, devices: str = "", seed: int = 0) -> list[Mapping[str, Any]]:
    """Seconds, FLOPs and memory of a training step of the plain recipe, by batch size.

    Raises:
        TaskError: If the task cannot be trained.
    """
    with _measuring(task, Options(seed=seed, devices=devices), SystemClock()) as executor:
        executor.load(None)
        return executor.sizes()


@contextmanager
def _measuring(task: Any, options: Options, clock: SystemClock) -> Iterator[Supervisor]:
    """A supervisor that leaves nothing behind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(Supervisor(task_ref(task, folder), options.resources(), clock, folder)) as executor:
            yield executor


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
