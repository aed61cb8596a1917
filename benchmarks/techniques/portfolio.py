"""Compare the portfolios of the shipped spaces with plain training at equal FLOPs, paired by seed.

    python benchmarks/techniques/portfolio.py --seeds 3

Both plain recipes are included; gains are relative to the one with linear decay.
"""

import argparse
from pathlib import Path

from experiment import Experiment
from table import FLOPS

from autoaccel import SearchSpace
from autoaccel.core.budget import Budget
from autoaccel.core.recipe import PLAIN
from autoaccel.techniques.registry import catalog

HERE = Path(__file__).parent
TASKS = {
    "vision": {"image": 1},
    "text": {"text": -1},
    "tabular": {"table": 1, "regression": 1},
    "minimal": {"image": 1, "table": 1},
}


def main() -> None:
    """Train the recipes and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="Factor on all budgets")
    given = parser.parse_args()
    for space, tasks in TASKS.items():
        known = SearchSpace.load(space, catalog()).portfolio
        print(f"\n{space}\n")
        for task, sign in tasks.items():
            recipes = {"constant rate": PLAIN["plain_constant"], **known}
            budgets = {task: [Budget(flops=given.scale * FLOPS[task])]}
            Experiment(str(HERE / "tasks.py"), f"portfolio-{space}", {task: sign}, recipes).run(
                budgets, given.seeds
            )


if __name__ == "__main__":
    main()
