"""Our own source files, read as text: those that a script takes along, and what they say of each technique.

Nothing is imported, since this process loads no torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

from autoaccel import __version__

COPY = "autoaccel_recipe"
"""The package that copies of our files make up."""
BASE = "techniques.base"
HOOKS = ("setup", "select", "batch", "loss", "step", "evaluate", "finish")
ABOUT = f'''"""Source files of autoaccel {__version__} that train_best.py needs, copied whole under their own names.

Nothing in them is changed but the first name in their imports. LICENSE says what you may do with them.
"""
'''


@dataclass(frozen=True)
class Declared:
    """What a technique's file says of it.

    Args:
        name: How recipes call it.
        module: Its file, such as `techniques.optimization.averaging`.
        cls: Its class.
        order: Its place among the others.
        requires: What it needs of the task or the run.
        hooks: The hooks that it overrides.
        component: The component that it fills, if any.
        parameters: Their names, those of its bases included.
        defaults: Of its parameters, where they are plain values.
        parallel: Whether it works where several processes share each batch.
        package: A module that must be installed for it.
        uses: What its file takes from other files of ours.
    """

    name: str
    module: str
    cls: str
    order: int
    requires: tuple[str, ...]
    hooks: frozenset[str]
    component: str
    parameters: frozenset[str]
    defaults: Mapping[str, Any]
    parallel: bool
    package: str
    uses: frozenset[str]

    @cached_property
    def source(self) -> str:
        """The text of its file, without the other techniques in it."""
        nodes = [node for node in _tree(self.module).body if not _is_other(node, self.cls)]
        return "\n".join(ast.get_source_segment(text(self.module), node) or "" for node in nodes)


def text(module: str) -> str:
    """The source of one of our files, such as `core.schedules`."""
    return (files("autoaccel") / f"{module.replace('.', '/')}.py").read_text()


@cache
def declared() -> Mapping[str, Declared]:
    """All techniques of ours by name."""
    found = {}
    for family in ("data", "model", "optimization", "system"):
        folder = files("autoaccel") / "techniques" / family
        for name in sorted(f.name for f in folder.iterdir() if f.name.endswith(".py")):
            module = f"techniques.{family}.{name.removesuffix('.py')}"
            for node in _tree(module).body:
                if isinstance(node, ast.ClassDef) and (mark := _mark(node)):
                    made = _declared(module, node, mark)
                    found[made.name] = made
    return found


def copies(modules: Iterable[str]) -> dict[str, str]:
    """Files of ours and all of ours that they import, by their path in the run folder, with the licence.

    Args:
        modules: Such as `training.context`.
    """
    taken = _with_imports(modules)
    packages = {".".join(parts[:n]) for parts in (m.split(".") for m in taken) for n in range(1, len(parts))}
    taken |= {f"{package}.__init__" for package in packages}
    copied = {f"{COPY}/{module.replace('.', '/')}.py": renamed(text(module)) for module in sorted(taken)}
    return {f"{COPY}/LICENSE": _licence(), f"{COPY}/__init__.py": ABOUT, **copied}


def renamed(source: str) -> str:
    """A file whose imports of ours are from the copies."""
    return re.sub(r"^(\s*from )autoaccel\.", rf"\g<1>{COPY}.", source, flags=re.MULTILINE)


def _with_imports(modules: Iterable[str]) -> set[str]:
    waiting, taken = set(modules), set[str]()
    while waiting:
        module = waiting.pop()
        taken.add(module)
        waiting |= set(_imported(module).values()) - taken
    return taken


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(text(module))


@cache
def _imported(module: str) -> Mapping[str, str]:
    """Names that a file takes from other files of ours when it runs, and those files."""
    found = {}
    for node in _running(_tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autoaccel."):
            found.update({alias.name: str(node.module).removeprefix("autoaccel.") for alias in node.names})
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Everything inside but what only a type checker reads."""
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.If) and isinstance(part.test, ast.Name) and part.test.id == "TYPE_CHECKING":
            continue
        yield part
        yield from _running(part)


def _is_other(node: ast.stmt, cls: str) -> bool:
    """Whether it is the class of another technique."""
    return isinstance(node, ast.ClassDef) and node.name != cls and _mark(node) is not None


def _mark(node: ast.ClassDef) -> ast.Call | None:
    """The decorator `technique`."""
    calls = (mark for mark in node.decorator_list if isinstance(mark, ast.Call))
    return next((c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "technique"), None)


def _declared(module: str, node: ast.ClassDef, mark: ast.Call) -> Declared:
    read = ("order", "requires", "package", "component")
    said = {k.arg: ast.literal_eval(k.value) for k in mark.keywords if k.arg in read}
    given = _fields(node)
    parallel = given.pop("parallel", None)
    return Declared(
        name=ast.literal_eval(mark.args[0]),
        module=module,
        cls=node.name,
        order=said.get("order", 50),
        requires=tuple(said.get("requires", ())),
        hooks=frozenset(HOOKS) & _members(module, node.name, _methods),
        component=said.get("component", ""),
        parameters=_members(module, node.name, _parameters),
        defaults={name: made.value for name, call in given.items() if (made := _default(call)) is not None},
        parallel=not (isinstance(parallel, ast.Constant) and parallel.value is False),
        package=said.get("package", ""),
        uses=frozenset(_imported(module)),
    )


def _default(call: ast.expr | None) -> ast.Constant | None:
    """The default in `parameter(default, ...)`, if it is a plain value."""
    first = call.args[0] if isinstance(call, ast.Call) and call.args else None
    return first if isinstance(first, ast.Constant) else None


def _fields(node: ast.ClassDef) -> dict[str, ast.expr | None]:
    """The annotated fields of a class and what they are set to."""
    found = (part for part in node.body if isinstance(part, ast.AnnAssign))
    return {part.target.id: part.value for part in found if isinstance(part.target, ast.Name)}


def _parameters(node: ast.ClassDef) -> set[str]:
    """The names of the fields that a class declares with `parameter(...)`."""
    calls = {name: value.func for name, value in _fields(node).items() if isinstance(value, ast.Call)}
    return {name for name, made_by in calls.items() if isinstance(made_by, ast.Name) and made_by.id == "parameter"}


def _methods(node: ast.ClassDef) -> set[str]:
    return {part.name for part in node.body if isinstance(part, ast.FunctionDef)}


def _members(module: str, name: str, own: Callable[[ast.ClassDef], set[str]]) -> frozenset[str]:
    """What a class and its bases have, but for what all techniques have."""
    if module == BASE:
        return frozenset()
    node = next((n for n in _tree(module).body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
        home = _imported(module).get(name)
        return _members(home, name, own) if home else frozenset()
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return frozenset(own(node)).union(*(_members(module, base, own) for base in bases))


def _licence() -> str:
    """An installed package has it among its metadata; in a checkout it lies beside the package."""
    try:
        installed = distribution("autoaccel").read_text("licenses/LICENSE")
    except PackageNotFoundError:
        installed = None
    return installed or (Path(__file__).parents[2] / "LICENSE").read_text()
