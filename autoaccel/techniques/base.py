"""The technique interface: seven hooks around the training loop, and the context that they work on.

A technique is a dataclass whose fields are its parameters, each declared with its domain. The loop calls each
hook in the techniques' declared order; the two context managers exit in reverse order. A technique never saves or
evaluates, and it runs the model through `Context.forward`, which books the cost.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from torch import Tensor

from autoaccel.core.catalog import Domain, Parameter, TechniqueInfo
from autoaccel.core.schedules import Number, Schedule, value
from autoaccel.techniques.context import Batch, Context

__all__ = ["Batch", "Context", "Number", "OptimizerTechnique", "Technique", "parameter", "technique", "value"]


HOOKS = ("setup", "select", "batch", "loss", "step", "evaluate", "finish")
"""Names of the hooks, in the order in which they run."""


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

    def keeps(self) -> float:
        """Return the smallest share of a batch's samples that `batch` keeps: BatchNorm needs enough of them."""
        return 1.0

    def deliverable(self, context: Context) -> bool:
        """Return whether the weights that are evaluated now could be delivered: their change has reached its end.

        A training that keeps its best weights considers only milestones at which all techniques say so.
        """
        return True

    def finish(self, context: Context) -> None:
        """Merge, fold or convert the evaluated weights, once at the end, within the finalization reserve."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume exactly: all fields that are not parameters."""
        return {f.name: getattr(self, f.name) for f in _state_fields(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        for f in _state_fields(self):
            setattr(self, f.name, state[f.name])

    def resume(self, context: Context, state: dict[str, Any]) -> None:
        """Go on in another process, after `setup`, from the state returned by `state_dict`.

        The weights are loaded afterwards. Override it to change the model as the technique had changed it by then.
        """
        self.load_state_dict(state)


def _state_fields(made: Technique) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(cast(Any, made)) if not f.init]


class OptimizerTechnique(Technique):
    """Base class of optimizer components: `setup` sets `context.optimizer`, and runs again on every rebuild."""

    def period(self) -> int:
        """Return after how many updates the optimizer's matrix products repeat; the first update may differ."""
        return 1


T = TypeVar("T", bound=type[Technique])
DECLARED: dict[tuple[str, str], type[Technique]] = {}
"""Every technique class declared in this process, by source file and name; those in a user's model file too."""


def _scheduled(field: dataclasses.Field[Any]) -> bool:
    """Whether a parameter takes a schedule: its type is `Number`, as text or as a value."""
    if not isinstance(field.default, bool | int | float | str | Schedule):
        raise TypeError(
            f"parameter {field.name}: the default {field.default!r} is not a number, a word or a schedule"
        )
    return "Number" in str(field.type) or "Schedule" in str(field.type)


def _declared(field: dataclasses.Field[Any]) -> dict[str, Any]:
    return {key: field.metadata[key] for key in ("domain", "least", "most") if key in field.metadata}


def parameter(
    default: Any,
    low: float = 0.0,
    high: float = 1.0,
    *,
    log: bool = False,
    integer: bool = False,
    options: tuple[Any, ...] = (),
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """Declare a parameter of a technique: its default, and the range or options worth searching.

    Other values are accepted where they make sense; `least` and `most` tell where the range does not say which do,
    as described at `autoaccel.core.catalog.Parameter`.
    """
    domain = Domain(low, high, log, integer, tuple(options))
    return dataclasses.field(default=default, metadata={"domain": domain, "least": least, "most": most})


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
                f.name: Parameter(cast(Any, f.default), scheduled=_scheduled(f), **_declared(f))
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
        # The file and not the module: a model file may be imported under two names, and the later one counts.
        file = str(Path(sys._getframe(1).f_code.co_filename).absolute())
        DECLARED[file, cls.__qualname__] = made
        return made  # type: ignore[no-any-return]

    return declare
