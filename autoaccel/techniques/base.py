"""The technique interface: seven hooks around the training loop, and the context that they work on.

A technique is a dataclass whose fields are its parameters, each declared with its domain. The loop calls each
hook in the techniques' declared order; the two context managers exit in reverse order. A technique never saves or
evaluates, and it runs the model through `Context.forward`, which books the cost.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from autoaccel.core.catalog import Domain, Parameter, TechniqueInfo
from autoaccel.core.schedules import Number, value

__all__ = ["Batch", "Context", "Number", "OptimizerTechnique", "Technique", "parameter", "technique", "value"]


HOOKS = ("setup", "select", "batch", "loss", "step", "evaluate", "finish")
"""Names of the hooks, in the order in which they run."""


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Args:
        inputs: The model's inputs: a tensor, or a tuple or dict of tensors, batch dimension first.
        targets: Targets, batch dimension first.
        index: Index of each sample in the training set, shape [n].
        weight: Weight of each sample's loss, shape [n]; 1 on average over a pass.
        other: Second targets of mixed samples, or None.
        share: Share of `targets` in each mixed sample, shape [n], or None.
    """

    inputs: Any
    targets: Tensor
    index: Tensor
    weight: Tensor
    other: Tensor | None = None
    share: Tensor | None = None

    def replace(self, **changes: Any) -> Batch:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class Context(Protocol):
    """The part of a training that techniques may read and change.

    Attributes:
        p: Progress in [0, 1]; constant within a step and equal on all ranks.
        model: The user's model, unwrapped.
        optimizer: The optimizer, set by the optimizer component during `setup`.
        device: The model's device.
        kind: Kind of input: image, tokens, table or series.
        classes: Number of classes; 0 for other targets.
        class_weights: Loss weight of each class, shape [classes], or None.
        batch_size: Samples per optimizer step over all ranks; may be changed between steps.
        micro_batch: Largest number of samples computed at once; 0 for the whole batch.
        lr_factor: Factor on every learning rate, for scaling it with the batch size.
        mixed_precision: `no`, `bf16` or `fp16`; read after `setup`.
        sample_loss: Latest task loss of each training sample, shape [n_train]; NaN for samples not seen yet. The
            loop records it only if a technique overrides `select`, and only for samples that are not mixed.
        generator: Random generator on `device`, seeded per trial and rank.
        shared: Random generator on the CPU with the same state on all ranks.
        variants: What the cost of a forward depends on besides shapes, such as the number of skipped blocks, keyed
            by the name of the technique that sets it.
        seen: Number of training samples drawn by all ranks together.
    """

    p: float
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    kind: str
    classes: int
    class_weights: Tensor | None
    batch_size: int
    micro_batch: int
    lr_factor: float
    mixed_precision: str
    sample_loss: Tensor
    generator: torch.Generator
    shared: torch.Generator
    variants: dict[str, Hashable]
    seen: int

    def forward(self, inputs: Any, model: nn.Module | None = None) -> Any:
        """Run the model under autocast and the caller's grad mode, book the cost, and return the output.

        Args:
            inputs: The model's inputs.
            model: Another model on the same device to run instead, such as a teacher.
        """
        ...

    def per_sample(self, output: Any, targets: Tensor) -> Tensor:
        """Return the task loss of each sample, shape [n]."""
        ...

    def recompute_gradients(self) -> None:
        """Zero the gradients and recompute those of the current step's batch."""
        ...

    def swap(self, match: Callable[[nn.Module], bool], make: Callable[[nn.Module], nn.Module]) -> int:
        """Replace every child module that matches, rebuild if any did, and return how many were replaced."""
        ...

    def rebuild(self) -> None:
        """Rebuild the optimizer and clear the cached costs, after parameters were replaced."""
        ...

    def training_batches(self, samples: int) -> Iterator[Any]:
        """Yield the inputs of `samples` random training samples, the same at every call, without augmentation."""
        ...

    def one_epoch(self, size: int = 256) -> Iterator[Batch]:
        """Yield every training sample once, in index order, without augmentation."""
        ...

    def begin_pass(self) -> None:
        """End the pass over the data after the current batch, so that `select` is called again."""
        ...

    def reference(self) -> nn.Module:
        """Return the run's best finished model in eval mode, for techniques that require `reference`.

        Raises:
            UsageError: If the trial was given none.
        """
        ...

    def keep_data_on_device(self, share: float) -> bool:
        """Move the training data to the device if they take less than `share` of its free memory.

        Returns:
            Whether the data were moved.
        """
        ...

    def load_in_background(self, workers: int) -> bool:
        """Prefetch samples in worker processes; return False if the data are in memory already.

        Args:
            workers: Number of worker processes; 0 for none, negative to choose the number by a measurement.
        """
        ...


class Technique:
    """Base class of all techniques, whose hooks do nothing: override those that you need.

    Attributes:
        parallel: Whether the technique works when several processes share each batch.
    """

    parallel: ClassVar[bool] = True
    if TYPE_CHECKING:  # set by the decorator `technique`
        info: ClassVar[TechniqueInfo]

    def setup(self, context: Context) -> None:
        """Prepare once before the first step, on the trial's budget: model surgery, parameter groups, scores."""

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Return the weight of each training sample for the next pass, shape [n_train]; 0 skips a sample."""
        return weight

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Change a batch, which is on the device: resize, truncate, augment or mix it."""
        return batch

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """Change the loss of each sample, shape [n], and return the same shape."""
        return each

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Wrap `optimizer.step()`: gradients are available before the yield, updated weights after it."""
        yield

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Wrap every evaluation and every save: put the weights to be evaluated in place."""
        yield

    def evaluation_samples(self, context: Context) -> int:
        """Return how many training samples `evaluate` runs through the model; their cost is reserved."""
        return 0

    def finish(self, context: Context) -> None:
        """Merge, fold or convert the evaluated weights, once at the end, within the finalization reserve."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume exactly: all fields that are not parameters."""
        return {f.name: getattr(self, f.name) for f in _state_fields(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        for f in _state_fields(self):
            setattr(self, f.name, state[f.name])


def _state_fields(made: Technique) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(cast(Any, made)) if not f.init]


class OptimizerTechnique(Technique):
    """Base class of optimizer components: `setup` sets `context.optimizer`, and runs again on every rebuild."""

    def period(self) -> int:
        """Return after how many updates the optimizer's matrix products repeat; the first update may differ."""
        return 1


T = TypeVar("T", bound=type[Technique])


def parameter(
    default: Any,
    low: float = 0.0,
    high: float = 1.0,
    *,
    log: bool = False,
    integer: bool = False,
    options: tuple[Any, ...] = (),
) -> Any:
    """Declare a parameter of a technique: its default, and the range or options worth searching."""
    return dataclasses.field(default=default, metadata={"domain": Domain(low, high, log, integer, tuple(options))})


def technique(
    name: str,
    *,
    family: str,
    category: str,
    component: str = "",
    requires: Iterable[str] = (),
    tags: Iterable[str] = (),
    conflicts: Iterable[str] = (),
    order: int = 50,
    package: str = "",
    extra: str = "",
    paper: str = "",
) -> Callable[[T], T]:
    """Return a class decorator that makes a `Technique` a dataclass and declares its `TechniqueInfo`.

    Args:
        name: Name in recipes.
        family: data, model, optimization or system.
        category: The survey's heading for it.
        component: The component that it fills, or empty for an optional technique.
        requires: Capabilities that the task must have.
        tags: What it does, matched against the conflicts of other techniques.
        conflicts: Tags of techniques that it cannot be combined with.
        order: Techniques with a lower order run first.
        package: A Python module that must be installed.
        extra: The autoaccel extra that installs `package`.
        paper: Source.
    """

    def declare(cls: T) -> T:
        made: Any = dataclass(cls)
        made.info = TechniqueInfo(
            name=name,
            family=family,
            category=category,
            summary=(cls.__doc__ or "").strip().splitlines()[0],
            component=component,
            parameters={
                f.name: Parameter(cast(Any, f.default), f.metadata["domain"], "Number" in str(f.type))
                for f in dataclasses.fields(made)
                if "domain" in f.metadata
            },
            requires=frozenset(requires),
            tags=frozenset(tags),
            conflicts=frozenset(conflicts),
            order=order,
            hooks=tuple(hook for hook in HOOKS if getattr(cls, hook) is not getattr(Technique, hook)),
            parallel=cls.parallel,
            extra=extra,
            available=not package or importlib.util.find_spec(package) is not None,
            paper=paper,
        )
        return made  # type: ignore[no-any-return]

    return declare
