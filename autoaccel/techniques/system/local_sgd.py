"""Fewer messages between processes that share each batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field

from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.shared.ranks import averaged_over_ranks


@technique(
    "local_sgd",
    family="system",
    category="system-centric",
    # Each process would mask or cut other weights, or have a gradient scale of its own and skip other steps. What
    # Schedule-Free evaluates is computed from weights that its optimizer keeps, and these stay each process's own.
    conflicts=("masks_weights", "reshapes_weights", "scales_gradients", "own_schedule"),
    # A step averages weights after others have pulled them, an evaluation those that others have put in place.
    order=57,
    paper="arXiv 1805.09767; arXiv 1808.07217",
)
class LocalSgd(Technique):
    """Let processes that share batches train alone, and average their weights at intervals; in one, change nothing.

    It is for slow links. A search whose trials are single processes learns nothing of it.

    Each process takes steps with the gradient of its own share of a batch. What is evaluated, saved and delivered
    is the average over the processes, of weights and of BatchNorm's statistics; a checkpoint is made once all have
    the same weights. All else stays each process's own, such as the state of its optimizer and a moving average of
    its weights; a training that goes on from a checkpoint has those of the first process. Statistics of BatchNorm
    that are measured for such an average are each process's, and averaged with it.

    There are fewer bytes, but still a wait in each step: processes agree on progress and on whether to stop, in one
    message of a few bytes, or two where the budget limits FLOPs.

    Args:
        every: Progress between two averages.
        after: Progress from which the processes train alone; until then they share gradients.
    """

    every: float = parameter(0.01, 0.002, 0.05, log=True, most=1.0)
    after: float = parameter(0.5, 0.0, 0.75)
    next: float = field(init=False, default=0.0, repr=False)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Take each step from `after` on alone."""
        if context.p >= self.after:
            context.part()
        return batch

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Average the updated weights after the first step alone, and from then on at intervals of `every`."""
        yield
        if context.alone and context.p >= self.next:
            context.meet()
            self.next = context.p + self.every

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Evaluate the average over the processes."""
        if not context.alone:
            yield
            return
        with averaged_over_ranks(context.model):
            yield
