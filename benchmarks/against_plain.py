"""Compare `autoaccel tune` with the plain recipe trained for the whole budget, paired by seed.

    python benchmarks/against_plain.py digits 90s --seeds 5
    python benchmarks/against_plain.py shakespeare 180s --seeds 5

Runs are made one at a time; results are kept in runs/against_plain and reused. Wall-clock seconds are measured from
outside, from the start of the command to its end.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, median

from scipy.stats import t as student

ROOT = Path(__file__).parents[1]
OUT = ROOT / "runs" / "against_plain"


def run(kind: str, task: str, budget: str, seed: int) -> dict[str, float]:
    """Run one command, or read its kept result: wall-clock seconds, test loss, headline and recipe."""
    kept = OUT / f"{task}-{budget}-{kind}-{seed}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    folder = OUT / f"{task}-{budget}-{kind}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["tune", "--no-memory"] if kind == "tune" else ["train", "--recipe", kind]
    command = [sys.executable, "-m", "autoaccel.cli", arguments[0], str(ROOT / "examples" / f"{task}.py")]
    command += [*arguments[1:], "--budget", budget, "--seed", str(seed), "--out", str(folder), "--json"]
    before = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - before
    data = json.loads(done.stdout)
    result = {
        "seconds": seconds,
        "loss": data["final"]["test"]["loss"],
        "headline": data["headline"],
        "recipe": data["recipe"],
    }
    kept.write_text(json.dumps(result))
    return result


def main() -> None:
    """Print one line per seed and the mean paired difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("budget")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    gains, seconds = [], []
    for seed in range(given.seeds):
        ours, plain = (run(kind, given.task, given.budget, seed) for kind in ("tune", "plain"))
        gains.append(plain["loss"] - ours["loss"])
        seconds.append(ours["seconds"])
        print(
            f"seed {seed}: tune {ours['loss']:.4f} in {ours['seconds']:.1f} s, plain {plain['loss']:.4f} in "
            f"{plain['seconds']:.1f} s, gain {gains[-1]:+.4f}",
            flush=True,
        )
    half = student.ppf(0.975, len(gains) - 1) * _deviation(gains) / len(gains) ** 0.5
    better = sum(gain > 0 for gain in gains)
    print(f"test loss, plain - tune: {mean(gains):+.4f} ± {half:.4f} (95 %), better in {better} of {len(gains)}")
    print(f"wall seconds of tune: {min(seconds):.1f} to {max(seconds):.1f}, median {median(seconds):.1f}")


def _deviation(values: list[float]) -> float:
    return (sum((v - mean(values)) ** 2 for v in values) / (len(values) - 1)) ** 0.5


if __name__ == "__main__":
    main()
