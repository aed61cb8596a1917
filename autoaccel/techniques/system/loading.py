"""Background loading of samples in worker processes, so that training does not wait for data."""

from __future__ import annotations

from autoaccel.techniques.base import Context, Technique, parameter, technique

MEASURE = -1
"""Choose the number of workers by a short measurement."""


@technique(
    "loader",
    family="system",
    category="system-centric",
    requires=("dataset",),
    order=76,
    paper="arXiv 2005.02130",
)
class Loader(Technique):
    """Load the next batches in worker processes while the current one trains.

    Args:
        workers: Number of processes; 0 loads between steps, -1 chooses the number by a measurement in setup.
    """

    workers: int = parameter(2, options=(MEASURE, 0, 1, 2, 4, 8))

    def setup(self, context: Context) -> None:
        """Configure loading in workers, which starts with the first pass."""
        context.load_in_background(self.workers)
