"""`train_best.py`: a script that trains the best recipe without autoaccel.

The recipe, the number of steps and `main` come first; what they use of our training loop and techniques follows.
Budgets, FLOPs and ranges stay at home: the script takes as many steps as the delivered training took.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import groupby

from autoaccel.core.catalog import REFERENCE, Value
from autoaccel.core.recipe import Recipe
from autoaccel.errors import UsageError
from autoaccel.export.cutting import Cut, Definition, cut, read_file

FOUNDATION = (
    "core.schedules",
    "techniques.base",
    "techniques.shared.tensors",
    "techniques.shared.modules",
    "techniques.shared.quantized",
    "techniques.shared.weights",
    "techniques.shared.groups",
)
TRAINING = (
    "training.loop",
    "training.batches",
    "training.context",
    "training.data.loading",
    "training.evaluate",
    "training.finalize",
    "training.build",
    "training.checkpoint",
    "training.data.task",
    "training.data.prepare",
    "training.data.sources",
    "training.metrics.objective",
    "training.metrics.metric",
    "errors",
)
"""In the order in which one reads them; techniques stand before."""

MAIN = '''
TASK = {target!r}
SEED = {seed}
STEPS = {steps}
MICRO_BATCH = {micro_batch}  # largest batch computed at once; 0 for no limit
MODEL = {model}  # keyword arguments of the model's factory


def recipe() -> list[Technique]:
    """The techniques in the order in which their hooks run."""
    return [
{techniques}
    ]


def main() -> None:
    """Train the recipe, save model.safetensors, and print the scores."""
    task = load_task(sys.argv[1] if len(sys.argv) > 1 else TASK)
    context = assemble(task, recipe(), MODEL, SEED, SEED, None, 0.0)
    say = context.accelerator.print

    def report(index: int, score: Score, _: object) -> bool:
        say(f"validation at {{context.p:.0%}}: metric {{score.metric:.6g}}, loss {{score.loss:.6g}}")
        return True

    context.micro_batch = MICRO_BATCH
    train(context, Progress(), Milestones((0.5, 1.0), 0, report), SEED)
    test = finalize(context, Path("model.safetensors"), test=True)
    if test is not None:
        say(f"test: metric {{test.metric:.6g}}, loss {{test.loss:.6g}}")


class Progress:
    """The share of the steps that are made, the same in all processes."""

    timed = False

    def read(self, steps: int) -> float:
        """Progress in [0, 1]."""
        return min(1.0, steps / STEPS)

    def book_evaluation(self, steps: int) -> None:
        """An evaluation takes no step."""


class Meter:
    """Counts steps, and nothing else."""

    def __init__(self, *_: object):
        self.steps = 0
        self.variants = {{}}

    def forward(self, inputs: object, model: object = None) -> None:
        """A forward costs nothing here."""

    def step(self, samples: int, update: Callable[[], object], period: int) -> None:
        """Make one optimizer step."""
        update()
        self.steps += 1

    def spent(self) -> int:
        """Steps until now."""
        return self.steps

    def seconds(self) -> float:
        """Seconds since some moment."""
        return monotonic()

    def forget(self) -> None:
        """Nothing was learned about the model."""


def load_task(target: str) -> Task:
    """The task in the user's file. The `Task` that it imports from autoaccel is the one of this script."""
    stand_in = ModuleType("autoaccel")
    stand_in.Task = Task
    sys.modules["autoaccel"] = stand_in
    place, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    path = Path(place).resolve()
    sys.path.insert(0, str(path.parent if place.endswith(".py") else Path.cwd()))
    module = importlib.import_module(path.stem if place.endswith(".py") else place)
    tasks = [value for value in vars(module).values() if isinstance(value, Task)]
    found = getattr(module, name or "task", None) or next(iter(tasks), None)
    if found is None:
        raise SystemExit(f"no task found in {{place}}")
    return found if isinstance(found, Task) else found()
'''
OWN_IMPORTS = (
    "import importlib",
    "import sys",
    "from collections.abc import Callable",
    "from pathlib import Path",
    "from time import monotonic",
    "from types import ModuleType",
)
DEFAULT_STEPS = 1000
USE = """    python train_best.py [MODEL]
    accelerate launch --config_file accelerate_config.yaml train_best.py [MODEL]

It needs torch, accelerate and scikit-learn, and MODEL, the file with the task. The recipe and `main` come first.
"""
RUN = """

if __name__ == "__main__":
    main()
"""


def training_script(recipe: Recipe, target: str, seed: int, cost: Mapping[str, float], micro_batch: int = 0) -> str:
    """The script's source.

    Args:
        recipe: What to train with.
        target: The user's file.
        seed: Of the training that is delivered.
        cost: What that training took; the script takes as many steps.
        micro_batch: Largest batch computed at once; 0 for no limit.

    Raises:
        UsageError: If a technique is not one of autoaccel's own, or learns from a finished model of the run.
    """
    modules = technique_modules()
    techniques = _constructors(recipe, [d for module in modules for d in read_file(module).definitions])
    main = MAIN.format(
        target=target,
        seed=seed,
        steps=int(cost.get("steps") or DEFAULT_STEPS),
        micro_batch=micro_batch,
        model=repr(dict(recipe.model)),
        techniques="\n".join(f"        {made}," for made in techniques),
    )
    source = _page(target.rpartition("/")[2], main, cut([*FOUNDATION, *modules, *TRAINING], main))
    ast.parse(source)
    return source


def _constructors(recipe: Recipe, definitions: Sequence[Definition]) -> list[str]:
    """A call for each technique, in the order in which their hooks run."""
    known = {d.technique: d for d in definitions if d.technique}
    chosen = recipe.chosen()
    if foreign := [name for name in chosen if name not in known]:
        raise UsageError(f"a script holds autoaccel's own techniques only, and not {', '.join(foreign)}")
    if learning := [name for name in chosen if REFERENCE in known[name].requires]:
        raise UsageError(f"a script carries no finished model, which {', '.join(learning)} would learn from")
    ordered = sorted(chosen.items(), key=lambda pair: (known[pair[0]].order, pair[0]))
    return [f"{next(iter(known[name].names))}({_keywords(parameters)})" for name, parameters in ordered]


def _keywords(parameters: Mapping[str, Value]) -> str:
    return ", ".join(f"{key}={given!r}" for key, given in parameters.items())


def _page(name: str, main: str, taken: Cut) -> str:
    head = f'"""Trains the recipe that autoaccel found for {name}.\n\n{USE}"""\n'
    sections = [
        "\n\n\n".join([f"# {module}.py of autoaccel {'-' * (60 - len(module))}", *(d.source for d in part)])
        for module, part in groupby(taken.definitions, key=lambda d: d.module.replace(".", "/"))
    ]
    aliases = "".join(f"{alias} = Any\n" for alias in taken.mentioned)
    return "\n".join(
        [
            head,
            "from __future__ import annotations\n",
            *_import_lines([*taken.imports.values(), *OWN_IMPORTS]),
            main,
            "\n# Named in annotations only.",
            aliases,
            "\n\n\n".join(sections),
            RUN,
        ]
    )


def _import_lines(lines: Iterable[str]) -> list[str]:
    """Plain imports first, then one line for each module that names come from."""
    split = [line.partition(" import ") for line in sorted(set(lines))]
    modules = groupby((part for part in split if part[1]), key=lambda part: part[0])
    together = [
        f"{module} import {', '.join(names)}" for module, parts in modules if (names := [p[2] for p in parts])
    ]
    return [*(part[0] for part in split if not part[1]), *together]


def technique_modules() -> list[str]:
    """The files of our techniques, below `autoaccel`."""
    root = files("autoaccel.techniques")
    found = []
    for family in ("data", "model", "optimization", "system"):
        names = sorted(f.name for f in (root / family).iterdir() if f.name.endswith(".py"))
        found += [f"techniques.{family}.{name.removesuffix('.py')}" for name in names if name != "__init__.py"]
    return found
