"""Compare searches on learning curves, at equal cost.

Peers of other packages come with the extra `bench`. DEHB asks for an older numpy than the others do but works with
theirs: `pip install --no-deps dehb loguru pyarrow`.

python -m benchmarks.search --data DIR --suite lcbench,taskset --methods autoaccel,asha --jobs 2 --out DIR
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.search.harness import cases, read, run
from benchmarks.search.methods import METHODS, OURS, find
from benchmarks.search.page import tables, write_page
from benchmarks.search.suites import SUITES

KEPT = Path(__file__).parents[2] / "runs" / "search"
"""Where what is dear to compute about the problems is kept, for all comparisons."""
DEFAULT = f"{OURS},default,asha"

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder of the suites' data.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder of results.jsonl, which is resumed, and of index.html.")],
    suite: Annotated[str, typer.Option(help=f"Suites by comma: {', '.join(SUITES)}.")] = ",".join(SUITES),
    tasks: Annotated[str, typer.Option(help="Tasks by comma; all of the suites' if empty.")] = "",
    methods: Annotated[str, typer.Option(help=f"Searches by comma: {', '.join(METHODS)}.")] = DEFAULT,
    budgets: Annotated[str, typer.Option(help="Budgets in full trainings by comma.")] = "1,2,4,8,20",
    seeds: Annotated[int, typer.Option(help="Number of seeds.", min=1)] = 20,
    jobs: Annotated[int, typer.Option(help="Number of processes, of one thread each.", min=1)] = 1,
) -> None:
    """Compare searches on learning curves at equal cost, and write the results and a page of them."""
    searched = chosen("--methods", methods, METHODS)
    for name in searched:
        try:
            find(name)
        except ImportError as error:
            raise typer.BadParameter(f"{name} is not installed: {error}", param_hint="--methods") from None
    names = {name: [p.name for p in SUITES[name](data)] for name in chosen("--suite", suite, SUITES)}
    if tasks:
        wanted = chosen("--tasks", tasks, [task for found in names.values() for task in found])
        names = {name: [task for task in found if task in wanted] for name, found in names.items()}
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.jsonl"
    failures = run(cases(names, searched, _budgets(budgets), seeds), data, KEPT, results, jobs, console)
    found = read(results)
    for table in tables(found):
        console.print(table)
    (out / "index.html").write_text(write_page(found))
    console.print(f"{out / 'index.html'}", markup=False)
    if failures:
        console.print(f"{len(failures)} cases failed; the same command tries them again.", style="red")
        raise typer.Exit(1)


def chosen(option: str, given: str, accepted: Collection[str]) -> Sequence[str]:
    """Return the names that were given by comma, without repetitions."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in accepted:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(accepted)}", param_hint=option)
    return list(dict.fromkeys(names))


def _budgets(given: str) -> list[float]:
    try:
        budgets = [float(part) for part in given.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{error}; accepted are numbers by comma", param_hint="--budgets") from None
    if min(budgets) <= 0:
        raise typer.BadParameter(f"{min(budgets):g} is not above 0", param_hint="--budgets")
    return budgets


if __name__ == "__main__":
    app()
