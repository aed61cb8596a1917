"""What users call from Python: `tune`, `plan`, `train`, `profile` and `SearchSpace`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from autoaccel import space
from autoaccel.budget import Budget, Cost, parse_budget
from autoaccel.catalog import Catalog
from autoaccel.clock import SystemClock
from autoaccel.display import Display
from autoaccel.errors import TaskError, UsageError
from autoaccel.events import Finished
from autoaccel.execution.supervisor import Supervisor
from autoaccel.options import Options
from autoaccel.recipe import PLAIN, Recipe
from autoaccel.result import Result, inference_lines
from autoaccel.search.plan import make_plan
from autoaccel.search_spaces import read as read_space
from autoaccel.store.folder import RunFolder, choose_folder
from autoaccel.target import slug, target_name, task_ref
from autoaccel.trial import OutcomeKind, Purpose, TrialRequest
from autoaccel.tuning import DEFAULT_SPACES, PATIENCE, Tuning, load_space, reserve


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
    place = options.place()
    target = target_name(task)
    if options.space:
        read_space(options.space)
    path = choose_folder(Path(options.out) if options.out else None, slug(target), options.resume)
    fresh = not path.exists()
    folder = RunFolder(path)
    with closing(view or Display(budget, quiet=quiet)) as view, closing(folder):
        try:
            return Tuning(task, target, budget, options, place, folder, clock, view).go()
        except BaseException as error:
            # A folder is worth keeping once something was trained, unless nothing there can be of use.
            if fresh and (isinstance(error, UsageError | TaskError) or not folder.has_log()):
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
    with tempfile.TemporaryDirectory() as folder:
        executor = Supervisor(task_ref(task, Path(folder)), options.place(), clock, Path(folder))
        try:
            catalog = executor.load(budget.seconds)
            facts, _ = executor.profile(budget.seconds)
            name = options.space or DEFAULT_SPACES[facts.kind]
            fitted, notes = load_space(name, catalog).for_task(facts.traits)
            spent = Cost(seconds=clock.now())
            planned = make_plan(budget, facts, spent, options.place().workers, reserve(budget))
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
    out: str | Path | None = None,
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
    target = target_name(task)
    folder = RunFolder(choose_folder(Path(out) if out else None, f"{slug(target)}-train", resume=False))
    executor = Supervisor(
        task_ref(task, folder.path), Options(seed=seed, devices=devices).place(), clock, folder.path
    )
    try:
        executor.load(budget.seconds)
        left = budget
        if budget.seconds:
            left = budget.less(Cost(seconds=clock.now() + 0.4)) or budget
        grace = 2.0 if budget.seconds else None
        request = TrialRequest(0, recipe, left, Purpose.FINAL, seed, test=True, origin="given", grace=grace)
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
            "headline": f"Trained {outcome.cost.steps:.0f} steps: {outcome.metric} {final.metric:.4g}, "
            f"loss {final.loss:.4g} on the validation set.",
            "metric": {"name": outcome.metric},
            "final": {
                "budget": str(budget),
                "validation": {"metric": final.metric, "loss": final.loss, "noise": final.noise},
                "test": dict(outcome.test) or None,
            },
            "recipe": recipe.to_data(),
            "target": target,
            "load": inference_lines(folder.path),
            "spent": {"final": {"seconds": outcome.cost.seconds, "flops": outcome.cost.flops}},
        }
        folder.write("recipe.yaml", recipe.to_yaml())
        folder.write_json("result.json", data)
        return Result(folder.path, data, None if isinstance(task, str) else task)
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
            executor.load(None)
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


def _until_finished(executor: Supervisor) -> Iterator[Any]:
    while True:
        for event in executor.poll(PATIENCE):
            yield event
            if isinstance(event, Finished):
                return
