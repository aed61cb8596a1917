"""Kill the supervisor of short runs at random moments, resume them, and check that nothing was lost.

    python -m benchmarks.faults.kills --runs 100 --seed 0

An unbroken run says how long one takes. Each other run gets SIGKILL at a moment drawn evenly from that time, is
resumed with --resume, and with probability 1/3 killed a second time. What must hold in the end: see `check`.
"""

import argparse
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.faulty_runs import MODEL, Run

PHASES = ("start", "profile", "search", "final", "end")
NOISE = 0.6
"""A final training replaces a shorter trial unless that is better by so many of its standard errors."""


@dataclass(frozen=True)
class Seen:
    """What a run folder holds after a kill: the phase, the delivered trial, and how its trials ended."""

    phase: str
    delivered: dict[str, Any] | None
    finished: dict[int, Any]

    @classmethod
    def of(cls, run: Run) -> "Seen":
        """Look at the folder of a run whose process is gone."""
        finished = {data["trial"]: data["outcome"] for kind, data in run.entries() if kind == "finished"}
        finals = [request["trial"] for request in run.started() if request["purpose"] == "final"]
        if finals:
            phase = "end" if finals[-1] in finished else "final"
        elif run.started():
            phase = "search"
        else:
            phase = "profile" if (run.run / "import.txt").exists() else "start"
        delivered = run.result.get("delivered") if (run.run / "result.json").exists() else None
        return cls(phase, delivered, finished)


def killable(folder: Path, flops: float) -> Run:
    """Return a run that is not started yet, which goes to the same folder every time."""
    return Run(folder, "--flops", f"{flops:g}", "--out", "runs/model", model=MODEL)


def kill_after(run: Run, seconds: float) -> bool:
    """Kill a run that was just started; return False if it ended before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and run.process.poll() is None:
        time.sleep(0.005)
    ended = run.process.poll() is not None
    run.process.kill()
    return not ended


def booked(run: Run) -> tuple[float, float]:
    """Return the FLOPs that all trials are charged, each once, and the most that a step of any trial took."""
    carried = {request["trial"]: request["carried"].get("flops", 0.0) for request in run.started()}
    costs = {data["trial"]: data["outcome"]["cost"] for kind, data in run.entries() if kind == "finished"}
    steps = [cost["flops"] / cost["steps"] for cost in costs.values() if cost.get("steps")]
    return sum(cost["flops"] - carried[trial] for trial, cost in costs.items()), max(steps, default=0.0)


def check(run: Run, ended: tuple[int, str, str], before: list[Seen], flops: float) -> list[str]:
    """Return what is wrong with a run that was killed and resumed; empty if all promises were kept."""
    code, _, errors = ended
    if code:
        return [f"exit code {code}: {errors.strip().splitlines()[-1:]}"]
    wrong = []
    if not (run.run / "recipe.yaml").exists() or not (run.run / "model.safetensors").exists():
        wrong.append("no recipe or no weights")
    after = Seen.of(run)
    sign = 1 if run.result["metric"]["direction"] == "max" else -1
    for seen in before:
        if lost := {trial for trial in seen.finished if after.finished.get(trial) != seen.finished[trial]}:
            wrong.append(f"finished trials are lost: {sorted(lost)}")
        if had := seen.delivered:
            least = sign * had["metric"] - NOISE * (had["standard_error"] or 0.0)
            if after.delivered is None or sign * after.delivered["metric"] < least:
                wrong.append(f"delivered {had['metric']} before a kill, {after.delivered} in the end")
    spent, step = booked(run)
    if spent > flops + step:
        wrong.append(f"{spent:.4g} FLOPs are booked of {flops:.4g}")
    return wrong


def broken(run: Run, seed: str, seconds: float, flops: float, patience: float) -> tuple[list[str], list[str]]:
    """Start, kill and resume one run; return the phases in which it was killed, and what is wrong."""
    source, before, wrong = Random(seed), [], []
    kills = [source.uniform(0, seconds)] + [source.uniform(0, seconds)] * (source.random() < 1 / 3)
    run.start()
    for moment in kills:
        killed = kill_after(run, moment)
        ended = run.end(patience)
        if not run.nothing_is_left(5.0):
            wrong.append(f"left after 5 s: {[' '.join(process.cmdline()) for process in run.left()]}")
        if not killed:
            break
        before.append(Seen.of(run))
        resumable = (run.run / "config.json").exists()  # before that, there is nothing to go on with
        run.start(*["--resume"] * resumable)
    else:
        ended = run.end(patience)
    if not run.nothing_is_left(5.0):
        wrong.append("processes are left after the end")
    return [seen.phase for seen in before], wrong + check(run, ended, before, flops)


def main() -> None:
    """Print a line for each run, the histogram of moments, and how many kept all promises."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flops", type=float, default=5e8, help="The budget of a run.")
    parser.add_argument("--patience", type=float, default=900.0, help="Seconds after which a run is given up.")
    given = parser.parse_args()
    moments, good = Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        whole = killable(Path(name) / "whole", given.flops).start().end(given.patience)
        seconds = time.monotonic() - began
        if whole[0]:
            raise SystemExit(f"the unbroken run ended with {whole[0]}: {whole[2]}")
        print(f"an unbroken run takes {seconds:.1f} s")
        for number in range(given.runs):
            run = killable(Path(name) / str(number), given.flops)
            phases, wrong = broken(run, f"{given.seed}-{number}", seconds, given.flops, given.patience)
            moments.update(phases or ["not killed, it had ended"])
            good += not wrong
            print(
                f"run {number}, killed in {', '.join(phases) or 'nothing'}: {'; '.join(wrong) or 'all kept'}",
                flush=True,
            )
    for phase in [*PHASES, *sorted(set(moments) - set(PHASES))]:
        print(f"{phase:25} {moments[phase]:4} {'#' * moments[phase]}")
    print(f"{good} of {given.runs}")


if __name__ == "__main__":
    main()
