"""Fetching the samples of a dataset in other processes, so that the training does not wait for them."""

from __future__ import annotations

from autoaccel.techniques.base import Context, Technique, parameter, technique

MEASURE = -1
"""As many workers as a short measurement finds worth having."""


@technique(
    "loader",
    family="system",
    category="system-centric",
    requires=("dataset",),
    order=76,
    paper="arXiv 2005.02130",
)
class Loader(Technique):
    """Load coming batches in worker processes while the present one trains.

    Args:
        workers: Number of processes; 0 loads between steps, -1 measures in setup how many are worth having.
    """

    workers: int = parameter(2, options=(MEASURE, 0, 1, 2, 4, 8))

    def setup(self, context: Context) -> None:
        """Start with the first pass."""
        context.load_in_background(self.workers)
