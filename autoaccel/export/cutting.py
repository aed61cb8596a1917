"""Cutting definitions out of our own sources, so that a script can carry along what it uses and nothing else.

Starting from the script's own lines, every top-level definition that is referred to is taken, then what those
refer to, and so on. Sources are read as text and never imported: this process loads no torch.
"""

from __future__ import annotations

import ast
import copy
import dis
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import CodeType


@dataclass(frozen=True)
class Definition:
    """A top-level definition of one of our files.

    Args:
        module: Its file, below `autoaccel`.
        names: What it defines.
        uses: Names that it needs when it runs.
        mentions: Names in its annotations.
        source: Its text, ready for the script.
        technique: The technique's name, if it is one.
        order: The technique's place among the others.
        requires: What the technique needs of the task or the run.
    """

    module: str
    names: frozenset[str]
    uses: frozenset[str]
    mentions: frozenset[str]
    source: str
    technique: str = ""
    order: int = 50
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cut:
    """What a script needs of our sources.

    Args:
        imports: For each name that comes from another package, the line that imports it.
        definitions: In the order of the sources.
        mentioned: Names of ours that occur in annotations only and were not taken along.
    """

    imports: Mapping[str, str]
    definitions: tuple[Definition, ...]
    mentioned: tuple[str, ...]


@dataclass
class _File:
    definitions: list[Definition] = field(default_factory=list)
    imports: dict[str, str] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)


def cut(modules: Iterable[str], script: str) -> Cut:
    """Everything that `script` needs from `modules`.

    Args:
        modules: Files below `autoaccel`, such as `training.loop`; what a file needs comes before it.
        script: The script's own lines. What they define replaces what the modules define under that name.
    """
    read = [read_file(module) for module in modules]
    tree = ast.parse(script)
    own = {name for node in tree.body for name in defined(node)}
    offered = [d for file in read for d in file.definitions if not d.names & own]
    taken = _closure(offered, used(tree))
    names = (used(tree) | mentioned(tree)).union(*(d.uses | d.mentions for d in taken))
    imports = {name: line for file in read for name, line in file.imports.items()}
    ours = {name for file in read for name in file.ours}.union(*(d.names for d in offered))
    here = own.union(*(d.names for d in taken))
    return Cut(
        imports={name: line for name, line in imports.items() if name in names},
        definitions=tuple(taken),
        mentioned=tuple(sorted((ours - here) & names)),
    )


def _closure(offered: list[Definition], wanted: Collection[str]) -> list[Definition]:
    wanted, taken = set(wanted), set[int]()
    while fresh := [i for i, d in enumerate(offered) if i not in taken and d.names & wanted]:
        taken.update(fresh)
        wanted.update(*(offered[i].uses for i in fresh))
    return [offered[i] for i in sorted(taken)]


@cache
def read_file(module: str) -> _File:
    """The definitions and imports of one of our files."""
    *packages, last = module.split(".")
    source = (files(".".join(["autoaccel", *packages])) / f"{last}.py").read_text()
    found = _File()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autoaccel."):
            found.ours.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.imports.update(_imported(node))
        elif names := defined(node):
            lean = _without_declarations(node)
            parts = (used(lean), mentioned(lean), _text(source, node))
            found.definitions.append(Definition(module, names, *parts, *_declared(node)))
    return found


def defined(node: ast.stmt) -> frozenset[str]:
    """Names that a top-level statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return frozenset({node.name})
    if isinstance(node, ast.Assign):
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        return frozenset(names - {"__all__"})
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return frozenset({node.target.id})
    return frozenset()


def used(node: ast.AST) -> frozenset[str]:
    """Global names that are looked up when the code runs: neither locals nor annotations."""
    lines = f"from __future__ import annotations\n{ast.unparse(node)}"
    return frozenset(_looked_up(compile(lines, "<definition>", "exec", dont_inherit=True)))


def _looked_up(code: CodeType) -> Iterator[str]:
    yield from (i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _looked_up(part)


def mentioned(node: ast.AST) -> frozenset[str]:
    """Names in annotations, which are never evaluated."""
    annotations = [
        part
        for parent in ast.walk(node)
        for part in (getattr(parent, "annotation", None), getattr(parent, "returns", None))
        if part is not None
    ]
    return frozenset(n.id for part in annotations for n in ast.walk(part) if isinstance(n, ast.Name))


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return {}
    module = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
    lines = {}
    for alias in node.names:
        name = alias.asname or alias.name.split(".")[0]
        renamed = f" as {alias.asname}" if alias.asname else ""
        lines[name] = f"{module}import {alias.name}{renamed}"
    return lines


# A technique declares its ranges and its tag beside its code, for the search. A script needs the code only:
# `@technique(...)` becomes `@dataclass`, `parameter(0.1, ...)` its default.


def _is_call(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _declared(node: ast.stmt) -> tuple[str, int, tuple[str, ...]]:
    """A technique's name, order and needs."""
    for mark in getattr(node, "decorator_list", []):
        if _is_call(mark, "technique"):
            given = {k.arg: ast.literal_eval(k.value) for k in mark.keywords if k.arg in ("order", "requires")}
            return ast.literal_eval(mark.args[0]), given.get("order", 50), given.get("requires", ())
    return "", 50, ()


def _edits(node: ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST | None]]:
    """Parts of a class and what the script has in their place; None for nothing."""
    if not isinstance(node, ast.ClassDef):
        return
    for mark in node.decorator_list:
        if _is_call(mark, "technique"):
            yield mark, ast.Name("dataclass", ast.Load())
    for part in node.body:
        if (
            isinstance(part, ast.AnnAssign)
            and isinstance(part.value, ast.Call)
            and _is_call(part.value, "parameter")
        ):
            yield part.value, part.value.args[0]
        if isinstance(part, ast.If) and isinstance(part.test, ast.Name) and part.test.id == "TYPE_CHECKING":
            yield part, None


class _Lean(ast.NodeTransformer):
    def __init__(self, edits: Iterable[tuple[ast.AST, ast.AST | None]]):
        self._edits = {id(old): new for old, new in edits}

    def visit(self, node: ast.AST) -> ast.AST | None:
        return self._edits[id(node)] if id(node) in self._edits else self.generic_visit(node)


def _without_declarations(node: ast.stmt) -> ast.AST:
    lean = copy.deepcopy(node)
    made = _Lean(_edits(lean)).visit(lean)
    assert made is not None
    return made


def _text(source: str, node: ast.stmt) -> str:
    """The source of a definition with its decorators, as the script has it."""
    first = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", []))])
    lines = [line.encode() for line in source.splitlines()[first - 1 : node.end_lineno]]
    for old, new in sorted(_edits(node), key=lambda edit: edit[0].lineno, reverse=True):
        top, bottom = old.lineno - first, (old.end_lineno or old.lineno) - first
        head, tail = lines[top][: old.col_offset], lines[bottom][old.end_col_offset :]
        lines[top : bottom + 1] = [] if new is None else [head + ast.unparse(new).encode() + tail]
    return b"\n".join(lines).decode()
