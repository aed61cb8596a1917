"""All meters of a trial, read together as one cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import Clock
from autoaccel.core.quantities import REPRODUCIBLE, SECONDS, Cost
from autoaccel.errors import TaskError, UsageError
from autoaccel.training.meters.base import Meter, OverspentError
from autoaccel.training.meters.counts import SamplesMeter, SecondsMeter, StepsMeter
from autoaccel.training.meters.flops import FlopsMeter
from autoaccel.training.ranks import Ranks

COUNTERS: Sequence[type[Meter]] = (StepsMeter, SamplesMeter)
"""Built-in meters that need nothing to be made with."""
BUILT_IN: Sequence[type[Meter]] = (SecondsMeter, FlopsMeter, *COUNTERS)
RESERVED = frozenset(
    {*(meter.quantity for meter in BUILT_IN), "epochs", "trial", "purpose", "origin", "outcome", "metric", "loss"}
    | {"standard_error", "budget", "reason", "parent", "fixed"}
)
"""Names of quantities that are taken, or that tables of trials use for something else."""
_REGISTERED: dict[str, type[Meter]] = {}


def register(meter: type[Meter]) -> type[Meter]:
    """Measure another quantity in each training of this process, and of those forked from it; a class decorator.

    A model file calls it. Another package offers its meter under the entry point `autoaccel.meters` instead.

    Raises:
        UsageError: If the quantity's name is taken.
    """
    if meter.quantity in RESERVED or not meter.quantity.isidentifier():
        raise UsageError(f"a meter cannot be called {meter.quantity!r}: the name is taken, or no identifier")
    _REGISTERED[meter.quantity] = meter
    return meter


@cache
def discover() -> None:
    """Register the meters of other packages: once a process, since looking for them takes milliseconds."""
    for point in entry_points(group="autoaccel.meters"):
        register(point.load())


def registered() -> list[Meter]:
    """Return a new meter of each registered kind."""
    discover()
    return [make() for make in _REGISTERED.values()]


class Meters:
    """Measures the cost of a trial.

    Args:
        model: The model whose forward passes are measured by default.
        clock: Measures the seconds.
        started: Time on the clock when the trial was requested.
        world: Number of processes that share each batch. Between two calls of `settle` each one measures for all.

    Attributes:
        variants: Conditions besides shapes that the cost of a forward pass depends on; see `Context`.
    """

    def __init__(self, model: nn.Module, clock: Clock, started: float, world: int = 1):
        self.variants: dict[str, Hashable] = {}
        self._model = model
        self._world = world
        self._seconds = SecondsMeter(clock, started)
        self._flops = FlopsMeter(self.variants)
        self._meters: list[Meter] = [self._seconds, self._flops, *(make() for make in COUNTERS), *registered()]
        self._allowed: Budget | None = None
        # What was spent when this process's meters read `_before`.
        self._settled = self._before = Cost()

    def forward(self, inputs: Any, model: nn.Module | None = None) -> None:
        """Measure a forward pass in the model's current mode, and its backward pass if gradients are enabled.

        Raises:
            OverspentError: If the trial's set-up exceeds its budget.
        """
        for meter in self._meters:
            meter.forward(model or self._model, inputs, torch.is_grad_enabled())
        if self._allowed is not None and self._allowed.share(self.spent()) > 1:
            raise OverspentError(f"its set-up alone spends more than {self._allowed}")

    @contextmanager
    def setting_up(self, budget: Budget) -> Iterator[None]:
        """Enforce the budget during set-up; after the first step, progress does."""
        self._allowed = budget
        try:
            yield
        finally:
            self._allowed = None

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave out of the reproducible quantities what is spent meanwhile: a measurement that is repeated."""
        before = self.spent()
        try:
            yield
        finally:
            extra = self.spent() - before
            self._settled = self._settled - Cost({name: extra[name] for name in REPRODUCIBLE & extra.keys()})

    def step(self, samples: int, update: Callable[[], bool], period: int = 1, share: int | None = None) -> None:
        """Make an optimizer step and measure it.

        Args:
            samples: Number of samples in its gradient, over all processes.
            update: Makes the step; returns whether it was made.
            period: Updates after which its matrix products repeat.
            share: Number of this process's samples; None for all.
        """
        self._flops.update(update, period)
        for meter in self._meters:
            meter.step(samples if meter.shared or share is None else share)

    @property
    def alike(self) -> frozenset[str]:
        """The quantities that all processes read alike."""
        return frozenset(meter.quantity for meter in self._meters if meter.shared or self._world == 1)

    def settle(self) -> None:
        """Book what each process has measured since the last time, in place of this one's share for all of them.

        All processes call it together. Shares differ where a batch does not divide by the processes, or where texts
        in it are longer.
        """
        if self._world == 1:
            return
        own = self._own()
        measured = Ranks().summed(*(own - self._before).values())
        self._settled = self._settled + Cost(dict(zip(own, measured, strict=True)))
        self._before = own

    def forget(self) -> None:
        """Clear the FLOP counts, because the model or the set of trained parameters has changed."""
        self._flops.forget()

    def flops_of(self, inputs: Any, backward: bool, model: nn.Module | None = None) -> float:
        """Return the FLOPs of a forward pass on inputs of this shape, with its backward pass if `backward`."""
        return self._flops.flops_of(model or self._model, inputs, backward)

    @property
    def flops_estimated(self) -> bool:
        """Whether some of the FLOPs are an estimate, because the model's could not be counted."""
        return self._flops.estimated

    def seconds(self) -> float:
        """Return the seconds since the trial was requested."""
        return self._seconds.read()

    def spent(self) -> Cost:
        """Return the trial's cost so far over all processes; seconds count once."""
        return Cost({meter.quantity: self._read(meter) for meter in self._meters})

    def state_dict(self) -> dict[str, Any]:
        """Return what was spent, and what the meters need to go on from there."""
        meters = {meter.quantity: meter.state_dict() for meter in self._meters}
        return {"spent": dict(self.spent()), "meters": meters}

    def load_state_dict(self, state: Mapping[str, Any], carried: Cost) -> None:
        """Go on with a training.

        Args:
            state: What `state_dict` returned.
            carried: What the training is charged for until here, but for the seconds of this process.
        """
        for meter in self._meters:
            meter.load_state_dict(state["meters"].get(meter.quantity, {}))
        # What this process measures from now on is on top, also where the state is that of another one.
        self._before = self._own()
        self.carry(carried)

    def carry(self, carried: Cost) -> None:
        """Charge what a training had spent before this process, in place of what this one has; see above."""
        spent = self.spent()
        # What was spent on this set-up was spent before, and is not charged twice; seconds pass again.
        self._settled = self._settled + Cost({n: carried[n] - spent[n] for n in spent if n != SECONDS})

    def _own(self) -> Cost:
        """Return what this process's meters read where others read something else; nothing in a single process."""
        return Cost({meter.quantity: meter.read() for meter in self._meters if meter.quantity not in self.alike})

    def _read(self, meter: Meter) -> float:
        fresh = meter.read() - self._before[meter.quantity]
        amount = self._settled[meter.quantity] + fresh * (1 if meter.shared else self._world)
        if not math.isfinite(amount):
            raise TaskError(f"the meter of {meter.quantity} reads {amount}")
        return amount
