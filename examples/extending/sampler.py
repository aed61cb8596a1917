"""Samplers of your own. Run: python examples/extending/sampler.py

Any Optuna sampler is one: give it a seed, so that a killed run can be resumed. Without Optuna, a sampler is a class
with `propose` and `tell`.
"""

from pathlib import Path

from optuna.samplers import QMCSampler

from autoaccel import Recipe, SearchSpace, tune
from autoaccel.search.base import Findings, Proposal

DIGITS = str(Path(__file__).parents[1] / "digits.py")


class Tournament:
    """Draws three random recipes and proposes the one that is most like the best so far.

    Args:
        space: The recipes that may be proposed.
        seed: Of the draws.
    """

    def __init__(self, space: SearchSpace, seed: int):
        self.space, self.seed, self.drawn = space, seed * 10_000, 0
        self.results: list[tuple[float, Recipe]] = []

    def propose(self, findings: Findings) -> Proposal | None:
        """The next recipe."""
        self.drawn += 3
        drawn = [self.space.sample(self.seed + self.drawn + i) for i in range(3)]
        winner = max(drawn, key=lambda recipe: _common(recipe, findings.best[0])) if findings.best else drawn[0]
        return Proposal(winner, "tournament")

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """Learn a result; smaller is better, and None means that the recipe cannot be trained."""
        if value is not None:
            self.results.append((value, proposal.recipe))


def _common(one: Recipe, other: Recipe) -> int:
    return len(one.flat().items() & other.flat().items())


if __name__ == "__main__":
    print(tune(DIGITS, "30s", sampler=QMCSampler(seed=0)))
    print(tune(DIGITS, "30s", sampler=Tournament))
