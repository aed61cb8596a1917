"""What training costs: FLOPs of every forward and backward that runs, seconds, steps and samples.

FLOPs are counted with torch's own counter on a copy of the model on the `meta` device, which holds no numbers,
once per shape of the inputs and set of trained parameters. Plain CPU tensors would count zero for attention
and recurrent layers. Matrix decompositions, which torch leaves out, are counted by the formulas of Golub & Van
Loan, Matrix Computations, 4th edition.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from autoaccel.core.budget import Budget, Cost
from autoaccel.core.clock import Clock
from autoaccel.techniques.shared.tensors import call, map_tensors, random_numbers_kept

T = TypeVar("T")
NO_DRY_RUN = (RuntimeError, NotImplementedError, TypeError, ValueError, AssertionError)
"""What a forward raises that looks at values where there are none."""


def _qr_flops(shape: torch.Size, *_: Any, **__: Any) -> int:
    """Both factors by Householder reflections (5.2): 4 (m n^2 - n^3 / 3) for m >= n, 8/3 n^3 where m = n."""
    *batch, m, n = shape
    k = min(m, n)
    return math.prod(batch) * 4 * (max(m, n) * k * k - k**3 // 3)


def _eigh_flops(shape: torch.Size, *_: Any, **__: Any) -> int:
    """All eigenvalues and eigenvectors by the symmetric QR algorithm (8.3): about 9 n^3."""
    return math.prod(shape[:-2]) * 9 * shape[-1] ** 3


DECOMPOSITIONS = {torch.ops.aten.linalg_qr: _qr_flops, torch.ops.aten._linalg_eigh: _eigh_flops}


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=dict(DECOMPOSITIONS))


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy of the model whose parameters and buffers have shapes but no memory."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


def dry_run(model: nn.Module, inputs: Any, run: Callable[[nn.Module, Any], T]) -> T:
    """Run something on a copy of the model that has shapes and no numbers.

    Args:
        model: Copied.
        inputs: Only their shapes and dtypes reach the copy.
        run: Called with the copy and such inputs.

    Raises:
        RuntimeError: If the forward looks at values, as some other errors do.
    """
    empty = map_tensors(lambda t: t.to("meta"), inputs)
    try:
        return run(meta_copy(model), empty)
    except NO_DRY_RUN as error:
        if "meta tensor" not in str(error):  # no value was asked for, and torch logs what fails a second time
            raise
        # Hugging Face models look at the values of their masks, but not of what they take for a trace.
        copied = meta_copy(model)
        with torch.inference_mode(False), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            return run(copied, map_tensors(mode.from_tensor, empty))


def count_flops(model: nn.Module, inputs: Any, backward: bool) -> float:
    """FLOPs of one forward, and of the backward that its trained parameters need.

    Args:
        model: The model in the mode (train or eval) that is to be counted.
        inputs: Example inputs; only shapes and dtypes matter unless the forward depends on values.
        backward: Whether the backward is counted too.
    """
    try:
        return dry_run(model, inputs, lambda copied, empty: _count(copied, empty, backward))
    except NO_DRY_RUN:  # the forward looks at values
        return _count_on_values(model, inputs, backward)


def _count_on_values(model: nn.Module, inputs: Any, backward: bool) -> float:
    """FLOPs of a forward on real inputs: on the CPU, where math attention shows its products, if it runs there."""
    device = next(model.parameters()).device
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")  # torch speaks of other devices' settings here
            with torch.backends.mkldnn.flags(enabled=False):
                return _count(copy.deepcopy(model).cpu(), map_tensors(lambda t: t.cpu(), inputs), backward)
    except NO_DRY_RUN:
        if device.type != "cuda":
            raise
        # Kernels made for the GPU alone count nothing here; all else does.
        with random_numbers_kept(device):
            return _count(copy.deepcopy(model), inputs, backward)


def _count(model: nn.Module, inputs: Any, backward: bool) -> float:
    with _counter() as counter, torch.set_grad_enabled(backward):
        output = call(model, inputs)
        if backward and isinstance(output, Tensor) and output.requires_grad:
            output.sum().backward()
    return float(counter.get_total_flops())


class OverspentError(RuntimeError):
    """A trial's set-up has spent all that the trial may spend."""


class Meter:
    """Books what one trial spends.

    Args:
        model: The model whose forwards are booked.
        clock: Where seconds come from.
        started: Reading of that clock when the trial was asked for.
        world: Processes that do the same work side by side; each books for all.

    Attributes:
        variants: What the cost of a forward depends on beside shapes; see `Context`.
    """

    def __init__(self, model: nn.Module, clock: Clock, started: float, world: int = 1):
        self._world = world
        self._model = model
        self._clock = clock
        self._started = started
        self._cost = Cost()
        self._flops = 0.0
        self._steps = 0
        self._samples = 0
        self._table: dict[Any, float] = {}
        self.variants: dict[str, Hashable] = {}
        self._update_flops: list[float] = []
        self._updates = 0
        self._allowed: Budget | None = None

    def forward(self, inputs: Any, model: nn.Module | None = None) -> None:
        """Book a forward in the present mode of the model or another, and its backward when gradients are on.

        Raises:
            OverspentError: During a set-up that spends more than all of the trial's budget.
        """
        self._flops += self._world * self.flops_of(inputs, torch.is_grad_enabled(), model)
        if self._allowed is not None and self._allowed.share(self.spent()) > 1:
            raise OverspentError(f"its set-up alone spends more than {self._allowed}")

    @contextmanager
    def setting_up(self, budget: Budget) -> Iterator[None]:
        """Watch over what is spent before the first step; afterwards progress does."""
        self._allowed = budget
        try:
            yield
        finally:
            self._allowed = None

    def flops_of(self, inputs: Any, backward: bool, model: nn.Module | None = None) -> float:
        """FLOPs of one forward for inputs of this shape, with its backward or without."""
        run = model or self._model
        key = (run, _shape(inputs), backward, run.training, tuple(self.variants.items()))
        if key not in self._table:
            # The random state is kept, so that counting once or from a cache trains the same model.
            with torch.random.fork_rng(devices=[]):
                self._table[key] = count_flops(run, inputs, backward)
        return self._table[key]

    def step(self, samples: int, update: Callable[[], bool], period: int = 1) -> None:
        """Make one optimizer step over `samples` and book it.

        Args:
            samples: Samples that its gradient is of.
            update: Makes the step; returns whether it was made.
            period: Updates after which its matrix products repeat. Those of the first update, which may set things
                up, and of one period after it are counted.
        """
        position = self._updates if self._updates <= period else 1 + (self._updates - 1) % period
        if position < len(self._update_flops):
            made = update()
        else:
            with _counter() as counter:
                made = update()
            if made:
                self._update_flops.append(float(counter.get_total_flops()))
        if made:
            self._flops += self._world * self._update_flops[position]
            self._updates += 1
        self._steps += 1
        self._samples += self._world * samples

    def forget(self) -> None:
        """Count anew: the model or the set of trained parameters has changed."""
        self._table.clear()
        self._update_flops.clear()
        self._updates = 0

    def seconds(self) -> float:
        """Seconds since the trial was asked for."""
        return self._clock.now() - self._started

    def spent(self) -> Cost:
        """Everything that the trial has spent until now."""
        return replace(
            self._cost, seconds=self.seconds(), flops=self._flops, steps=self._steps, samples=self._samples
        )


def _shape(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.shape
    if isinstance(inputs, dict):
        return tuple((key, _shape(part)) for key, part in inputs.items())
    return tuple(_shape(part) for part in inputs) if isinstance(inputs, tuple) else None
