"""Train deep models with fewer blocks: skip some at random, or train the first ones and grow the model later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from autoaccel.core.schedules import Schedule
from autoaccel.techniques.base import Batch, Context, Technique, parameter, technique
from autoaccel.techniques.shared.frozen import frozen_tensors
from autoaccel.techniques.shared.modules import evaluating, extend, first_calls, repeated_blocks, restore
from autoaccel.techniques.shared.tensors import call


def kinds_of_blocks(model: nn.Module, inputs: Any) -> dict[nn.Module, Hashable]:
    """Return the blocks in the order in which they run, each with its kind, which determines its cost.

    Blocks of the same kind have the same class name, parameters of the same names and shapes, and inputs of the
    same shape.
    """
    blocks = repeated_blocks(model, inputs)
    with torch.no_grad(), evaluating(model):
        calls = first_calls(blocks, lambda: call(model, inputs))
    return {
        block: (
            type(block).__name__,
            calls[block][0][0].shape,
            tuple((name, p.shape) for name, p in block.named_parameters()),
        )
        for block in blocks
    }


class DroppedBlock(nn.Module):
    """A residual block that passes its input through when dropped; in eval mode it always runs."""

    drops_now = False
    survival = 1.0

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Any:
        """Return the block's output, with its residual scaled up to keep the expectation of the full block."""
        if not self.training:
            return super().forward(x, *others, **named)
        if self.drops_now:
            return x
        output = super().forward(x, *others, **named)
        return output if self.survival == 1 else x + (output - x) / self.survival


@technique(
    "layer_drop",
    family="model",
    category="curriculum learning",
    requires=("blocks",),
    tags=("skips_blocks",),
    # A frozen block costs less than others of its kind, so counts of skipped blocks would not determine the cost.
    conflicts=("skips_blocks", "freezes", "compiles"),
    order=56,
    paper="arXiv 1603.09382; arXiv 2010.13369",
)
class LayerDrop(Technique):
    """Skip residual blocks at random, deeper ones more often, and more of them as training proceeds.

    Args:
        max_drop: Final probability of skipping the last of L blocks; that of the i-th block is i / L times as high.
        since: Progress at which the probabilities begin to rise from 0.
        until: Progress at which the probabilities reach their final values.
    """

    # DistributedDataParallel waits for the gradients of every parameter.
    parallel: ClassVar[bool] = False

    max_drop: float = parameter(0.2, 0.0, 0.4)
    since: float = parameter(0.0, 0.0, 0.2)
    until: float = parameter(0.8, 0.6, 1.0)
    blocks: list[str] = field(init=False, default_factory=list, repr=False)
    kinds: list[int] = field(init=False, default_factory=list, repr=False)

    def setup(self, context: Context) -> None:
        """Extend the blocks so that they can be skipped."""
        found = kinds_of_blocks(context.model, next(context.training_batches(2)))
        names = {module: name for name, module in context.model.named_modules()}
        numbers = {kind: i for i, kind in enumerate(dict.fromkeys(found.values()))}
        self.blocks = [names[block] for block in found]
        self.kinds = [numbers[kind] for kind in found.values()]
        for block in found:
            extend(block, DroppedBlock)
        context.variants["layer_drop"] = ()

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Draw the blocks that this step skips."""
        most = Schedule(0.0, self.max_drop, self.since, self.until)(context.p)
        chances = most * torch.arange(1, len(self.blocks) + 1) / len(self.blocks)
        drops = (torch.rand(len(self.blocks), generator=context.shared) < chances).tolist()
        for name, chance, dropped in zip(self.blocks, chances.tolist(), drops, strict=True):
            block: Any = context.model.get_submodule(name)
            block.drops_now, block.survival = dropped, 1 - chance
        skipped = Counter(kind for kind, dropped in zip(self.kinds, drops, strict=True) if dropped)
        context.variants["layer_drop"] = tuple(sorted(skipped.items()))
        return batch

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Count the cost of all blocks, since none is skipped in eval mode."""
        before = context.variants["layer_drop"]
        context.variants["layer_drop"] = ()
        try:
            yield
        finally:
            context.variants["layer_drop"] = before


class BypassedBlock(nn.Module):
    """A block that passes its input through until the model grows."""

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        """Return the input."""
        return x


@technique(
    "depth_growth",
    family="model",
    category="curriculum learning",
    requires=("blocks",),
    tags=("skips_blocks",),
    # Until the model grows, blocks share parameters: none can be frozen, pruned or adapted by itself.
    conflicts=("skips_blocks", "freezes", "reshapes_weights", "adapts", "compiles"),
    order=56,
    paper="arXiv 2405.15319",
)
class DepthGrowth(Technique):
    """Train only the first blocks, then stack copies of them to the full depth and continue.

    Blocks are only copied to blocks of the same kind: each stage of a convolutional net grows by itself.

    Args:
        growth: Factor by which the depth grows.
        at: Progress at which the model grows.
    """

    growth: int = parameter(2, options=(2, 4))
    at: float = parameter(0.3, 0.1, 0.5)
    copies: list[str] = field(init=False, default_factory=list, repr=False)

    def setup(self, context: Context) -> None:
        """Bypass the later blocks and let them share the tensors of the blocks that they will copy.

        Techniques that track the model's parameters, such as weight averaging, then see only those that are
        trained, and restart when the model grows.
        """
        found = kinds_of_blocks(context.model, next(context.training_batches(2)))
        names = {module: name for name, module in context.model.named_modules()}
        frozen = frozen_tensors(context.model)
        for kind in dict.fromkeys(found.values()):
            alike = [block for block, other in found.items() if other == kind]
            trained = -(-len(alike) // self.growth)
            for i, block in enumerate(alike[trained:]):
                self.copies += [f"{names[block]}.{name}" for name in _share(alike[i % trained], block, frozen)]
                extend(block, BypassedBlock)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Grow after the first step with progress of at least `at`."""
        yield
        if self.copies and context.p >= self.at:
            self._grow(context)

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Grow before an evaluation if progress has passed `at` since the last step."""
        if self.copies and context.p >= self.at:
            self._grow(context)
        yield

    def deliverable(self, context: Context) -> bool:
        """Return whether the model has its full depth."""
        return not self.copies

    def finish(self, context: Context) -> None:
        """Grow if `at` was never reached, so that the model has its full depth."""
        if self.copies:
            self._grow(context)

    def resume(self, context: Context, state: dict[str, Any]) -> None:
        """Grow the model if it was grown."""
        if self.copies and not state["copies"]:
            self._grow(context)
        super().resume(context, state)

    def _grow(self, context: Context) -> None:
        for block in [m for m in context.model.modules() if isinstance(m, BypassedBlock)]:
            restore(block, BypassedBlock)
        for name in self.copies:
            path, _, key = name.rpartition(".")
            part = context.model.get_submodule(path)
            setattr(part, key, _clone(getattr(part, key)))
        self.copies = []
        context.rebuild()


def _share(source: nn.Module, block: nn.Module, frozen: Collection[int]) -> list[str]:
    """Make `block` share the tensors of `source`, and return the names of those that were not shared before.

    Tensors of `block` whose ids are in `frozen` stay its own.
    """
    shared = []
    for path, part in block.named_modules():
        other = source.get_submodule(path)
        for key, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            if getattr(other, key) is not tensor and id(tensor) not in frozen:
                setattr(part, key, getattr(other, key))
                shared.append(f"{path}.{key}" if path else key)
    return shared


def _clone(tensor: Tensor) -> Tensor:
    copy = tensor.detach().clone()
    return nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
