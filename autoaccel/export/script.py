"""`train_best.py`: a script that trains the best recipe without autoaccel.

It is cut from the sources of the training loop: starting from the script's own last lines, every top-level
definition that is referred to is taken along, and nothing else.
"""

from __future__ import annotations

import ast
import pprint
from collections.abc import Mapping, Sequence
from importlib.resources import files

from autoaccel.recipe import Recipe

SOURCES = (
    "errors",
    "schedules",
    "clock",
    "budget",
    "catalog",
    "techniques.base",
    "techniques.tensors",
    "training.task",
    "training.sources",
    "training.cost",
    "training.objective",
    "training.metrics",
    "training.data",
    "training.context",
    "training.batches",
    "training.evaluation",
    "training.progress",
    "training.loop",
    "training.assemble",
    "training.checkpoint",
    "training.discovery",
)

OWN_IMPORTS = (
    "import sys",
    "from contextlib import ExitStack",
    "from pathlib import Path",
    "from types import ModuleType",
)
MAIN = '''
RECIPE = {recipe}
MODEL = {model}
TASK = {target!r}
SEED = {seed}
BUDGET = Budget(**{budget})


def main() -> None:
    """Train the recipe and print its validation and test scores; also under `accelerate launch`."""
    stand_in = ModuleType("autoaccel")  # all that the file of the task imports from there is Task
    stand_in.Task = Task
    sys.modules["autoaccel"] = stand_in
    classes = {{c.info.name: c for c in list(globals().values()) if isinstance(c, type) and hasattr(c, "info")}}
    techniques = sorted(
        (classes[name](**parameters) for name, parameters in RECIPE.items()),
        key=lambda t: (t.info.order, t.info.name),
    )
    clock = SystemClock()
    found = load_target(sys.argv[1] if len(sys.argv) > 1 else TASK)
    task = found if isinstance(found, Task) else found()
    context = assemble(task, techniques, MODEL, SEED, SEED, clock, clock.now())
    limits = BUDGET.resolve(len(context.data.train))
    progress = Progress(limits, context.meter.spent(), Cost(), 1, Cost())
    milestones = Milestones((1.0,), 0, lambda index, score, cost: True)
    validation = train(context, progress, milestones, SEED)
    context.accelerator.print(f"validation: metric {{validation.metric:.6g}}, loss {{validation.loss:.6g}}")
    for technique in techniques:
        technique.finish(context)
    with ExitStack() as stack:
        for manager in context.evaluating():
            stack.enter_context(manager)
        if context.accelerator.is_main_process:
            save_weights(context.model, Path("model.safetensors"))
    if context.data.test is not None:
        test = evaluate(context, context.data.test)
        context.accelerator.print(f"test: metric {{test.metric:.6g}}, loss {{test.loss:.6g}}")


if __name__ == "__main__":
    main()
'''


def training_script(recipe: Recipe, target: str, seed: int, cost: Mapping[str, float]) -> str:
    """The script's source.

    Args:
        recipe: What to train with.
        target: The user's file.
        seed: Of the final training.
        cost: What the final training took; the script takes as many steps.
    """
    chosen = {name: dict(p) for name, p in recipe.chosen().items()}
    budget = {"steps": cost["steps"]} if cost.get("steps") else {"epochs": 10}
    main = MAIN.format(
        recipe=pprint.pformat(chosen, sort_dicts=False, width=100),
        model=repr(dict(recipe.model)),
        target=target,
        seed=seed,
        budget=repr(budget),
    )
    modules = [_parse(name) for name in (*SOURCES, *_technique_files())]
    wanted = {f"technique:{name}" for name in chosen}
    imports, body = _needed(modules, main, wanted)
    name = target.rpartition("/")[2]
    head = f'"""Trains the recipe that autoaccel found for {name}: python train_best.py [MODEL]."""\n'
    lines = sorted({*imports, *OWN_IMPORTS})
    source = "\n".join([head, "from __future__ import annotations\n", *lines, "\n", body, main])
    ast.parse(source)
    return source


def _technique_files() -> list[str]:
    root = files("autoaccel.techniques")
    found = []
    for family in ("data", "model", "optimization", "system"):
        names = sorted(
            f.name for f in (root / family).iterdir() if f.name.endswith(".py") and f.name != "__init__.py"
        )
        found += [f"techniques.{family}.{name.removesuffix('.py')}" for name in names]
    return found


def _parse(name: str) -> tuple[str, ast.Module]:
    *packages, last = name.split(".")
    source = (files(".".join(["autoaccel", *packages])) / f"{last}.py").read_text()
    return source, ast.parse(source)


def _needed(modules: Sequence[tuple[str, ast.Module]], main: str, wanted: set[str]) -> tuple[list[str], str]:
    """Imports and definitions that `main` and the wanted techniques need, in the order of the sources."""
    definitions: list[tuple[set[str], set[str], str]] = []
    imports: dict[str, str] = {}
    for source, tree in modules:
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports.update(_imported(node))
            elif names := _defined(node):
                definitions.append((names, _used(node), _segment(source, node)))
    used = _used(ast.parse(main)) | wanted
    taken: set[int] = set()
    grown = True
    while grown:
        grown = False
        for i, (names, uses, _) in enumerate(definitions):
            if i not in taken and names & used:
                taken.add(i)
                used |= uses
                grown = True
    body = "\n\n\n".join(definitions[i][2] for i in sorted(taken))
    return sorted({line for name, line in imports.items() if name in used}), body


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("autoaccel", "__future__"):
        return {}
    module = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
    lines = {}
    for alias in node.names:
        name = alias.asname or alias.name.split(".")[0]
        renamed = f" as {alias.asname}" if alias.asname else ""
        lines[name] = f"{module}import {alias.name}{renamed}"
    return lines


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        names = {node.name}
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "technique":
                assert isinstance(mark.args[0], ast.Constant)
                names = {node.name, f"technique:{mark.args[0].value!s}"}
        return names
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)} - {"__all__"}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()


def _used(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _segment(source: str, node: ast.stmt) -> str:
    marks = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(mark.lineno for mark in marks)])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
