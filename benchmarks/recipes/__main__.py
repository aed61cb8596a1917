"""Compare searches on real trainings, at equal time and with the final training included.

python -m benchmarks.recipes --task digits,images,shakespeare,table,finetune --budget 30s --seeds 5 --out DIR

Time is counted from the start of each run's process, which has torch imported. On a machine that others use too,
`--clock processor` counts processor seconds, corrected for the machine's present speed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from autoaccel.core.budget import parse_budget
from autoaccel.errors import UsageError
from benchmarks.recipes.harness import Clocks, cases, read, run
from benchmarks.recipes.methods import METHODS
from benchmarks.recipes.page import tables, write_page
from benchmarks.recipes.tasks import TASKS
from benchmarks.search.__main__ import chosen

KEPT = Path(__file__).parents[2] / "runs" / "recipes"
"""Where what is made once for a task is kept, for all comparisons."""

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder of results.jsonl, which is resumed, and of index.html.")],
    task: Annotated[str, typer.Option(help="Tasks by comma.")] = ",".join(TASKS),
    methods: Annotated[str, typer.Option(help="Methods by comma.")] = ",".join(METHODS),
    budget: Annotated[str, typer.Option(help="Time of each run, such as 60s or 5m.")] = "60s",
    clock: Annotated[Clocks, typer.Option(help="What seconds are measured with.")] = Clocks.WALL,
    seeds: Annotated[int, typer.Option(help="Number of seeds.", min=1)] = 5,
    jobs: Annotated[int, typer.Option(help="Number of processes, of one thread each.", min=1)] = 1,
) -> None:
    """Compare searches on real trainings at equal time, and write the results and a page of them."""
    names, searched = chosen("--task", task, TASKS), chosen("--methods", methods, METHODS)
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    wanted = cases(names, searched, seconds(budget), clock, seeds)
    failures = run(wanted, out, KEPT, jobs, console)
    found = read(out / "results.jsonl")
    for table in tables(found):
        console.print(table)
    (out / "index.html").write_text(write_page(found))
    console.print(f"{out / 'index.html'}", markup=False)
    if failures:
        console.print(f"{len(failures)} runs failed; the same command tries them again.", style="red")
        raise typer.Exit(1)


def seconds(given: str) -> float:
    """Return a budget of time in seconds."""
    try:
        found = parse_budget(given)
    except UsageError as error:
        raise typer.BadParameter(str(error), param_hint="--budget") from None
    if list(found) != ["seconds"]:
        raise typer.BadParameter(f"{given!r} is not a time; accepted are 60s, 5m", param_hint="--budget")
    return found["seconds"]


if __name__ == "__main__":
    app()
