"""The interface of a technique: seven hooks around a training loop, and what they may touch.

A technique is a dataclass whose fields are its parameters, each with its range beside it. The loop calls the
hooks in the techniques' declared order; the two context managers unwind in reverse. A technique never saves,
never evaluates, and reaches the model only through `Context.forward`, which books the cost.
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
"""In the order in which they run."""


@dataclass(frozen=True)
class Batch:
    """One batch on its way to the model.

    Args:
        inputs: What the model is called with: a tensor, a tuple or a dict of tensors, batch first.
        targets: Targets, batch first.
        index: Resources of each sample in the training set, shape [n].
        weight: Weight of each sample's loss, shape [n], 1 on average over a pass.
        other: Second targets of mixed samples, or None.
        share: Share of `targets` in a mixed sample, shape [n], or None.
    """

    inputs: Any
    targets: Tensor
    index: Tensor
    weight: Tensor
    other: Tensor | None = None
    share: Tensor | None = None

    def replace(self, **changes: Any) -> Batch:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class Context(Protocol):
    """All that a technique may touch of the training it takes part in.

    Attributes:
        p: Progress in [0, 1]; constant within a step and equal on all ranks.
        model: The user's model, unwrapped.
        optimizer: The optimizer; the technique in that component sets it during `setup`.
        device: Where the model lives.
        kind: image, tokens, table or series.
        classes: Number of classes; 0 for other targets.
        class_weights: Weight of the loss of each class, shape [classes], or None.
        batch_size: Samples per optimizer step over all ranks; may be changed between steps.
        micro_batch: Samples computed at once; 0 for the whole batch.
        lr_factor: Factor on every learning rate, for a rule that follows the batch size.
        mixed_precision: `no`, `bf16` or `fp16`; read after `setup`.
        sample_loss: Last task loss of each training sample, shape [n_train]; NaN where it was never seen.
        generator: Random numbers on `device`, seeded per trial and rank.
        shared: Random numbers on the CPU that are the same on all ranks.
        variants: What the cost of a forward depends on beside shapes, such as how many blocks are skipped, by the
            name of the technique that sets it.
        seen: Training samples that all ranks together have drawn.
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
        """The model's output for `inputs`, its cost booked, under autocast and the caller's grad mode.

        Args:
            inputs: What the model is called with.
            model: Another model on the same device that is to be run, such as a teacher.
        """
        ...

    def per_sample(self, output: Any, targets: Tensor) -> Tensor:
        """The task's loss of each sample, shape [n]."""
        ...

    def recompute_gradients(self) -> None:
        """Zero the gradients and compute those of the current step's batch again."""
        ...

    def swap(self, match: Callable[[nn.Module], bool], make: Callable[[nn.Module], nn.Module]) -> int:
        """Replace every child module that matches; returns how many were replaced."""
        ...

    def rebuild(self) -> None:
        """Say that parameters were replaced: the optimizer and cached costs are built anew."""
        ...

    def training_batches(self, samples: int) -> Iterator[Any]:
        """Inputs of `samples` training samples, the same random ones at every call, without augmentation."""
        ...

    def one_epoch(self, size: int = 256) -> Iterator[Batch]:
        """Every training sample once, in the order of its index, without augmentation."""
        ...

    def begin_pass(self) -> None:
        """End the pass over the data with the present batch, so that `select` is asked again."""
        ...

    def reference(self) -> nn.Module:
        """The best finished model of this run in eval mode, for those that need `reference`."""
        ...

    def keep_data_on_device(self, share: float) -> bool:
        """Hold the training data on the device if they take less than `share` of its free memory."""
        ...

    def load_in_background(self, workers: int) -> bool:
        """Fetch samples ahead of time in so many processes; False where data lie in memory.

        Args:
            workers: Number of processes; 0 for none, below that as many as a measurement finds worth having.
        """
        ...


class Technique:
    """Base of all techniques: every hook does nothing. Override what is needed.

    Attributes:
        parallel: Whether it works where several processes share each batch.
    """

    parallel: ClassVar[bool] = True
    if TYPE_CHECKING:  # given by the decorator `technique`
        info: ClassVar[TechniqueInfo]

    def setup(self, context: Context) -> None:
        """Once, before the first step, on the trial's budget: surgery, parameter groups, scores."""

    def select(self, context: Context, weight: Tensor) -> Tensor:
        """Before each pass over the data: the weight of each training sample, shape [n_train]; 0 skips it."""
        return weight

    def batch(self, context: Context, batch: Batch) -> Batch:
        """On each batch, on the device: resize, truncate, augment, mix."""
        return batch

    def loss(self, context: Context, batch: Batch, output: Any, each: Tensor) -> Tensor:
        """On the loss of each sample, shape [n]; returns the same shape."""
        return each

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Around `optimizer.step()`: gradients are there before, new weights after."""
        yield

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Around every evaluation and every save: put the weights in place that are to be judged."""
        yield

    def evaluation_samples(self, context: Context) -> int:
        """Training samples that `evaluate` runs through the model each time; their cost is set aside."""
        return 0

    def finish(self, context: Context) -> None:
        """Once, at the end and inside the reserve, on the weights that are judged: merge, fold, convert."""

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to continue exactly: all fields that are not parameters."""
        return {f.name: getattr(self, f.name) for f in _state_fields(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for f in _state_fields(self):
            setattr(self, f.name, state[f.name])


def _state_fields(made: Technique) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(cast(Any, made)) if not f.init]


class OptimizerTechnique(Technique):
    """Base of what fills the optimizer's component: `setup` sets `context.optimizer`, again after a rebuild."""

    def period(self) -> int:
        """Updates after which the optimizer's matrix products repeat; the first update may differ from all."""
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
    """A parameter of a technique: its default and the range worth searching."""
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
    """Class decorator that turns a `Technique` into a dataclass and declares its `TechniqueInfo`.

    Args:
        name: How recipes call it.
        family: data, model, optimization or system.
        category: Heading of the survey.
        component: The component that it fills, or empty for an optional technique.
        requires: Capabilities that the task must have.
        tags: What it does, for the conflicts of others.
        conflicts: Roles that it cannot live with.
        order: Low runs first.
        package: A module that must be installed.
        extra: The extra of autoaccel that installs it.
        paper: Where it comes from.
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
