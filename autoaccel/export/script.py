"""`train_best.py`: a script that trains the best recipe without autoaccel, and the files that lie beside it.

What a recipe shares with most trainings is written out as ordinary PyTorch. Other techniques come from copies of
our own files, and the script's loop calls their hooks. Budgets, FLOPs and ranges are not exported:
the script takes as many steps as the delivered training took.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from autoaccel.core.catalog import REFERENCE
from autoaccel.core.recipe import COMPONENTS, PLAIN, Recipe
from autoaccel.core.schedules import Schedule, Value
from autoaccel.errors import UsageError, suggestion
from autoaccel.export.pieces import pieces
from autoaccel.export.python import from_line, literal
from autoaccel.export.sources import COPY, Declared, copies, declared

DEFAULT_STEPS = 1000
LARGEST_EVALUATION = 256
STANDARD: Mapping[str, tuple[str, ...]] = {
    "math": (),
    "sys": (),
    "collections.abc": ("Iterator",),
    "contextlib": ("ExitStack", "nullcontext"),
    "itertools": ("islice",),
    "time": ("monotonic",),
    "types": ("ModuleType", "SimpleNamespace"),
    "typing": ("Any",),
}
INSTALLED: Mapping[str, tuple[str, ...]] = {
    "accelerate": ("Accelerator", "DistributedDataParallelKwargs", "PartialState"),
    "accelerate.utils": ("set_seed",),
    "safetensors.torch": ("save_model",),
    "torch": ("Tensor", "nn"),
}
COPIED: Mapping[str, tuple[str, ...]] = {
    "core.schedules": ("Schedule",),
    "errors": ("UsageError",),
    "techniques.base": ("OptimizerTechnique",),
    "techniques.context": ("rows_of",),
    "techniques.shared.modules": ("Factor",),
    "techniques.shared.tensors": ("call", "map_tensors"),
    "training.batches": ("BatchSampler",),
    "training.best": ("Best",),
    "training.context": ("TrainingContext",),
    "training.data.discovery": ("load_target", "resolve"),
    "training.data.prepare": ("Data", "build_model", "in_units", "prepare"),
    "training.data.reading": ("ReadSource",),
    "training.data.task": ("Task",),
    "training.evaluate": ("score",),
    "training.gradients": ("accumulate",),
    "training.ranks": ("Ranks",),
    "training.shares": ("check_batches", "check_shares", "least_share", "share_of"),
    "training.scores": ("Score", "batch_size", "joined", "score_batch"),
}
"""What the templates may name, beside whole modules. A script imports what it does name."""


def training_script(
    recipe: Recipe,
    target: str,
    seed: int,
    cost: Mapping[str, float],
    micro_batch: int = 0,
    milestones: Sequence[float] = (),
    on_cpus: int = 0,
) -> str:
    """The script's source. It needs `recipe_files` beside it.

    Args:
        recipe: What to train with.
        target: The user's file.
        seed: Of the training that is delivered.
        cost: What that training took; the script takes as many steps.
        micro_batch: Largest batch computed at once; 0 for no limit.
        milestones: Progress at each evaluation of a training that kept its best weights, which the script does too;
            empty for one that kept the last ones.
        on_cpus: Number of processes that shared each batch of that training on CPUs; 0 for one, or for GPUs.

    Raises:
        UsageError: If a technique is not one of autoaccel's own, or learns from a finished model of the run; if a
            recipe that may come from a stranger does not have the parameters and kinds of values that it declares.
    """
    _check(recipe)
    given = {
        "target": target,
        "model": dict(recipe.model),
        "seed": seed,
        "steps": int(cost.get("steps") or DEFAULT_STEPS),
        "milestones": _shares(milestones),
        "micro_batch": micro_batch,
        "on_cpus": on_cpus,
        "evaluation_batch": min(LARGEST_EVALUATION, micro_batch or LARGEST_EVALUATION),
        **pieces(recipe.chosen()),
    }
    template = _templates().get_template("train_best.py.jinja")
    named = {n.id for n in ast.walk(_parsed(template.render(given, imports=""))) if isinstance(n, ast.Name)}
    script = template.render(given, imports=_imports(named, recipe.chosen()))
    _parsed(script)
    return script


@cache
def _templates() -> Environment:
    """Return the environment, once: compiling the templates takes longer than filling them."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # it makes Python, and all that users wrote passes through `literal`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["literal"] = literal
    return environment


def warm_up() -> None:
    """Compile the templates, and parse the files that every script comes with."""
    recipe_files(PLAIN["plain"])


def recipe_files(recipe: Recipe, milestones: Sequence[float] = ()) -> Mapping[str, str]:
    """Copies of our files that the script imports, and of those that they import, by their path in the run folder.

    Args:
        recipe: The script's.
        milestones: The script's.

    Raises:
        UsageError: As `training_script` does.
    """
    tree = ast.parse(training_script(recipe, "model.py", 0, {}, milestones=milestones))
    modules = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    return copies(m.removeprefix(f"{COPY}.") for m in modules if m.startswith(f"{COPY}."))


def _parsed(script: str) -> ast.Module:
    """The script as a tree: nothing is handed out that does not parse."""
    try:
        return ast.parse(script)
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"no script can be written of this recipe: it would not be valid Python: {error}"
        ) from error


def _shares(milestones: Sequence[float]) -> str:
    """The milestones before the last one, as Python; empty without any."""
    count = len(milestones)
    if count > 3 and all(share == (i + 1) / count for i, share in enumerate(milestones)):
        return f"[i / {count} for i in range(1, {count})]"
    return literal(tuple(milestones[:-1])) if milestones else ""


def _check(recipe: Recipe) -> None:
    known, chosen = declared(), recipe.chosen()
    if foreign := ", ".join(_shown(name) for name in chosen if name not in known):
        raise UsageError(f"a script holds autoaccel's own techniques only, and not {foreign}")
    if learning := [name for name in chosen if REFERENCE in known[name].requires]:
        raise UsageError(f"a script carries no finished model, which {', '.join(learning)} would learn from")
    if faults := [fault for name in chosen for fault in _faults(known[name], chosen[name])]:
        raise UsageError("\n  ".join(["no script can be written of this recipe:", *faults]))
    places = [(getattr(recipe, part).name, part) for part in COMPONENTS] + [
        (name, "") for name in recipe.techniques
    ]
    if wrong := [name for name, place in places if known[name].component != place]:
        raise UsageError(f"no script can be written of this recipe: {', '.join(wrong)} in another's place")


def _faults(technique: Declared, given: Mapping[str, Value]) -> list[str]:
    """What would not become valid code: names become keywords, and numbers are computed with."""
    faults = []
    for name, value in given.items():
        default = technique.defaults.get(name)
        if name not in technique.parameters:
            known = suggestion(name, technique.parameters)
            faults.append(f"{technique.name}.{name!a:.80}: unknown parameter{known}")
        elif type(default) in (int, float) and not (_is_number(value) or isinstance(value, Schedule)):
            faults.append(f"{technique.name}.{name} = {value!a:.80} is not a number")
    return faults


def _shown(name: str) -> str:
    return name if name.isidentifier() else f"{name!a:.80}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf


def _imports(named: Iterable[str], chosen: Iterable[str]) -> str:
    """Lines for what is named, in the usual three sections."""
    copied = {module: list(names) for module, names in COPIED.items()}
    for each in (declared()[name] for name in chosen):
        copied.setdefault(each.module, []).append(each.cls)
    sections = (STANDARD, INSTALLED, {f"{COPY}.{module}": copied[module] for module in sorted(copied)})
    wanted = set(named)
    return "\n\n".join("\n".join(_section(section, wanted)) for section in sections)


def _section(modules: Mapping[str, Iterable[str]], named: set[str]) -> list[str]:
    whole = [f"import {module}" for module in modules if module in named]
    parts = {module: named & set(names) for module, names in modules.items()}
    return [*whole, *(from_line(module, names) for module, names in parts.items() if names)]
