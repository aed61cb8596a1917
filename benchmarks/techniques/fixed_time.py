"""Compare data-sampling techniques with uniform sampling at equal seconds, including set-up and selection.

    python benchmarks/techniques/fixed_time.py --seeds 5

The setting follows 'Accelerating Deep Learning with Fixed Time Budget' (arXiv 2410.03790): image classification and
regression within a limit of wall-clock time.
"""

from experiment import Experiment, arguments, with_techniques
from tasks import image, regression

from autoaccel.core.budget import Budget

__all__ = ["image", "regression"]
IMAGE_ONLY = {
    "coreset": with_techniques(coreset={}),
    "learnability by a proxy": with_techniques(proxy_learnability={}),
}
RECIPES = {
    "data_dropout": with_techniques(data_dropout={}),
    "infobatch": with_techniques(infobatch={}),
    "loss_curriculum": with_techniques(loss_curriculum={}),
    "selective_backprop": with_techniques(selective_backprop={}),
    "data_size": with_techniques(data_size={}),
    "deduplicate": with_techniques(deduplicate={}),
}


def main() -> None:
    """Train the recipes and print the tables."""
    given = arguments(__doc__.splitlines()[0])
    for task, sign, seconds, recipes in (
        ("image", 1, 6.0, {**RECIPES, **IMAGE_ONLY}),
        ("regression", 1, 3.0, RECIPES),
    ):
        budget = Budget(seconds=given.scale * seconds)
        Experiment(__file__, "fixed-time", {task: sign}, recipes).run({task: [budget]}, given.seeds)


if __name__ == "__main__":
    main()
