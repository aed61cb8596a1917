"""The command line. Data go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from autoaccel import __version__, api
from autoaccel.cli_catalog import schema, spaces, techniques
from autoaccel.cli_doctor import doctor
from autoaccel.cli_folder import read_run, repair, status
from autoaccel.cli_memory import memory
from autoaccel.cli_plan import plan
from autoaccel.cli_result import show
from autoaccel.cli_resume import resume
from autoaccel.cli_slurm import submit
from autoaccel.core.budget import Budget, parse_budget, parse_flops
from autoaccel.core.clock import seconds_since_process_start
from autoaccel.core.paths import usable
from autoaccel.core.quantities import format_flops
from autoaccel.errors import (
    AutoaccelError,
    PreemptedRunError,
    UsageError,
)
from autoaccel.execution import executors
from autoaccel.export.formats import FORMATS, export
from autoaccel.export.template import TEMPLATE
from autoaccel.reporting.html import write_report
from autoaccel.reporting.terminal import Display
from autoaccel.storage.files import write_atomically
from autoaccel.tuner.interrupts import LEFT, Terminated, end_at_signals
from autoaccel.tuner.options import Options

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Train a PyTorch model as well as a budget allows: one budget in, a trained model and its recipe out.",
)
app.add_typer(memory, name="memory")
app.command()(plan)
app.command()(resume)
app.command()(spaces)
app.command()(schema)
app.command()(techniques)
app.command()(status)
app.command()(repair)
app.command()(doctor)
Target = Annotated[str, typer.Argument(help="model.py, model.py:name or package.module:name", metavar="MODEL")]
BudgetText = Annotated[str, typer.Option("--budget", "-b", help="90s, 90m, 4h, 1d12h, PT4H, '2e18 FLOPs'")]
Devices = Annotated[str, typer.Option(help="GPU numbers such as 0,1, or cpu")]
Out = Annotated[Path | None, typer.Option(help="The run folder; runs/NAME when missing")]
Seed = Annotated[int, typer.Option(help="Seeds the split, the search and every trial; 0 to 2147483647")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More lines, and tracebacks of errors")]


@app.command()
def tune(
    context: typer.Context,
    target: Target,
    budget: BudgetText = "",
    flops: Annotated[str, typer.Option(help="A budget in operations, such as 2e18")] = "",
    space: Annotated[str | None, typer.Option(help="A search space by name, or a YAML file")] = None,
    metric: Annotated[str | None, typer.Option(help="Overrides the task's metric")] = None,
    out: Out = None,
    seed: Seed = 0,
    again: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run")] = False,
    fork: Annotated[
        bool, typer.Option("--fork", help="Begin anew in another folder, and try the last run's best recipes early")
    ] = False,
    devices: Devices = "",
    workers: Annotated[
        int | None, typer.Option(help="Trials side by side; one on each GPU, or as measured, if missing")
    ] = None,
    executor: Annotated[
        str, typer.Option(help="local; ray: the cluster at RAY_ADDRESS; or slurm: submit the run as one job")
    ] = executors.DEFAULT,
    slurm: Annotated[
        list[str] | None, typer.Option(help="An option of sbatch such as partition=gpu or gpus=4; repeatable")
    ] = None,
    inline: Annotated[bool, typer.Option("--inline", help="Train in this process, for a debugger")] = False,
    warm_start: Annotated[
        Path | None, typer.Option(help="A finished run, whose best recipes are tried early")
    ] = None,
    aim: Annotated[str | None, typer.Option("--target", help="Stop at METRIC=VALUE, such as accuracy=0.97")] = None,
    subject_to: Annotated[
        list[str] | None, typer.Option(help="latency_ms<=5, size_mb<=1, memory_mb<=64, recall>=0.9; repeatable")
    ] = None,
    objective: Annotated[str | None, typer.Option(help="A front: quality,cost|latency|size|memory")] = None,
    max_epochs: Annotated[
        float | None, typer.Option(help="Passes over the data after which training a model longer is of no use")
    ] = None,
    no_memory: Annotated[bool, typer.Option("--no-memory", help="Use and leave no recipes of other runs")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Profile and plan, then stop")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Search for a recipe and train the model with it, all within the budget."""
    whole = _budget(budget, flops)
    if inline and executor != executors.DEFAULT:
        raise UsageError(f"--inline trains in this process, so --executor cannot be {executor}")
    runs_as_job = executor == executors.SLURM
    if slurm and not runs_as_job:
        raise UsageError("--slurm needs --executor slurm")
    # The job trains on the machine that it gets.
    trains_in = "inline" if inline else executors.DEFAULT if runs_as_job else executor
    known = not no_memory, warm_start, max_epochs
    goal = aim, tuple(subject_to or ()), objective
    options = Options(
        space, metric, out, seed, again, devices, workers, *known, *goal, executor=trains_in, fork=fork
    )
    if runs_as_job:
        submit(context, target, whole, options, slurm or (), as_json)
        return
    if dry_run:
        lines = api.plan(target, whole, options=options, elapsed=seconds_since_process_start())
        print("\n".join(lines))
        return
    view = Display(whole, quiet=quiet or as_json, verbose=verbose)
    result = api.tune(target, whole, options=options, view=view, elapsed=seconds_since_process_start())
    show(result, as_json)


@app.command()
def train(
    target: Target,
    recipe: Annotated[str, typer.Option(help="recipe.yaml, or plain, or plain_constant")],
    budget: BudgetText = "",
    epochs: Annotated[float | None, typer.Option(help="Limit: passes over the training data")] = None,
    steps: Annotated[float | None, typer.Option(help="Limit: optimizer steps")] = None,
    flops: Annotated[str, typer.Option(help="Limit: operations, such as 2e18")] = "",
    out: Out = None,
    seed: Seed = 0,
    devices: Devices = "",
    reference: Annotated[Path | None, typer.Option(help="A run whose model the recipe learns from")] = None,
    again: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished training")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train one recipe with one budget."""
    limits = {} if not (budget or flops) else dict(_budget(budget, flops))
    extra = {name: limit for name, limit in (("epochs", epochs), ("steps", steps)) if limit is not None}
    if not limits and not extra:
        raise UsageError("a budget is needed: --budget, --flops, --epochs or --steps")
    result = api.train(
        target,
        recipe,
        Budget(**{**limits, **extra}),
        out=out,
        seed=seed,
        devices=devices,
        reference=reference,
        quiet=quiet or as_json,
        elapsed=seconds_since_process_start(),
        resume=again,
    )
    show(result, as_json)


@app.command()
def check(target: Target, devices: Devices = "", as_json: AsJson = False) -> None:
    """Rehearse every step on a few samples and print what was understood of the task."""
    lines = api.check(target, devices=devices)
    print(json.dumps(lines) if as_json else "\n".join(lines))
    if not as_json:
        print("every step works: forward, loss, training step, metric, saving, loading, script")


@app.command()
def profile(target: Target, devices: Devices = "", as_json: AsJson = False) -> None:
    """Print the seconds, FLOPs and memory of a training step, by batch size."""
    rows = api.profile(target, devices=devices)
    if as_json:
        print(json.dumps([{**row["cost"], **{k: v for k, v in row.items() if k != "cost"}} for row in rows]))
        return
    print(f"{'batch':>6} {'a step':>12} {'samples/s':>12} {'FLOPs a step':>16} {'memory':>10}")
    for row in rows:
        speed = row["batch_size"] / row["cost"]["seconds"]
        memory = f"{row['bytes'] / 2**20:.0f} MiB"
        step = f"{1e3 * row['cost']['seconds']:.2f} ms"
        flops = format_flops(row["cost"]["flops"])
        print(f"{row['batch_size']:>6} {step:>12} {speed:>12.0f} {flops:>16} {memory:>10}")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder")]) -> None:
    """Write the report.html of a finished or killed run."""
    path = usable(run, "RUN") / "report.html"
    write_atomically(path, write_report(read_run(run)))
    print(path)


@app.command("export")
def export_run(
    run: Annotated[Path, typer.Argument(help="A run folder")],
    form: Annotated[str, typer.Option("--format", help=" | ".join(FORMATS))] = "yaml",
    trial: Annotated[int | None, typer.Option(help="Number of a trial, such as one of the front")] = None,
) -> None:
    """Print the best recipe of a run, or that of a trial, in a chosen format."""
    if form not in FORMATS:
        raise UsageError(f"--format {form!r} is not one of {', '.join(FORMATS)}")
    print(export(read_run(usable(run, "RUN")), form, trial), end="")


@app.command()
def init(path: Annotated[Path, typer.Argument(help="The file to write")] = Path("model.py")) -> None:
    """Write a commented model file to start from."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise UsageError(f"{path} exists already") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r:.80} cannot be written: {getattr(error, 'strerror', error)}") from None
    print(f"wrote {path}; now: autoaccel tune {path} --budget 2m")


def _version(value: bool) -> None:
    if value:
        print(f"autoaccel {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    """Budget-aware AutoML for PyTorch training."""


def _budget(budget: str, flops: str) -> Budget:
    parts = [dict(parse_budget(budget))] if budget else []
    if flops:
        parts.append({"flops": parse_flops(flops)})
    if not parts:
        raise UsageError("a budget is needed, such as --budget 4h or --flops 2e18")
    limits: dict[str, float] = {}
    for part in parts:
        limits.update(part)
    return Budget(**limits)


def main() -> None:
    """Run the command line; print an AutoaccelError as one message and exit with its code."""
    end_at_signals()
    try:
        app(standalone_mode=True)
    except AutoaccelError as error:
        print(f"error: {error}", file=sys.stderr)
        if "-v" in sys.argv or "--verbose" in sys.argv:
            print(error.__cause__ or "", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stop:
        print("error: interrupted", file=sys.stderr)
        sys.exit(PreemptedRunError.exit_code if isinstance(stop, Terminated) else LEFT)


def command() -> None:
    """Run the command line as a process, and leave at once: taking Python down is half a second of a budget."""
    try:
        main()
    except SystemExit as end:
        # Where torch is, the user's code was trained with in this process, and may have registered its own end.
        if "torch" in sys.modules or not isinstance(end.code, int | None):
            raise
        try:
            for stream in filter(None, (sys.stdout, sys.stderr)):  # a shell may have closed one
                stream.flush()
        except OSError:  # nobody reads it any more
            pass
        os._exit(end.code or 0)


if __name__ == "__main__":
    command()
