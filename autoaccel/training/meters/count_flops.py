"""Count the FLOPs of a forward pass and its backward pass without running them.

PyTorch's own counter counts them on a copy of the model on the `meta` device, which holds no data, once per input
shape and set of trained parameters. Plain CPU tensors would count zero for attention and recurrent layers. PyTorch
omits matrix decompositions; these are counted by the formulas of Golub & Van Loan, Matrix Computations, 4th
edition.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from autoaccel.techniques.shared.tensors import call, map_tensors, random_numbers_kept

T = TypeVar("T")
NO_DRY_RUN = (RuntimeError, NotImplementedError, TypeError, ValueError, AssertionError)
"""Errors from a forward pass that needs values on a device without data."""


def _qr_flops(shape: torch.Size, *_: Any, **__: Any) -> int:
    """Count both factors by Householder reflections (5.2): 4 (m n^2 - n^3 / 3) for m >= n, 8/3 n^3 if m = n."""
    *batch, m, n = shape
    k = min(m, n)
    return math.prod(batch) * 4 * (max(m, n) * k * k - k**3 // 3)


def _eigh_flops(shape: torch.Size, *_: Any, **__: Any) -> int:
    """Count all eigenvalues and eigenvectors by the symmetric QR algorithm (8.3): about 9 n^3."""
    return math.prod(shape[:-2]) * 9 * shape[-1] ** 3


DECOMPOSITIONS = {torch.ops.aten.linalg_qr: _qr_flops, torch.ops.aten._linalg_eigh: _eigh_flops}


def counter() -> FlopCounterMode:
    """Return PyTorch's FLOP counter, extended to matrix decompositions."""
    return FlopCounterMode(display=False, custom_mapping=dict(DECOMPOSITIONS))


def meta_copy(model: nn.Module) -> nn.Module:
    """Return a copy of the model on the `meta` device, without data in its parameters and buffers."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


def dry_run(model: nn.Module, inputs: Any, run: Callable[[nn.Module, Any], T]) -> T:
    """Run a function on a copy of the model that has shapes but no data.

    Args:
        model: The model to copy.
        inputs: Example inputs; only their shapes and dtypes are used.
        run: Called with the copy and inputs without data.

    Raises:
        RuntimeError: If the forward pass needs values; or another error in `NO_DRY_RUN`.
    """
    empty = map_tensors(lambda t: t.to("meta"), inputs)
    try:
        return run(meta_copy(model), empty)
    except NO_DRY_RUN as error:
        if "meta tensor" not in str(error):  # not due to missing values, and torch would log a second failure
            raise
        # Hugging Face models read the values of their masks, except from tensors that they take for tracing.
        copied = meta_copy(model)
        with torch.inference_mode(False), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            return run(copied, map_tensors(mode.from_tensor, empty))


def count_flops(model: nn.Module, inputs: Any, backward: bool) -> float:
    """Return the FLOPs of a forward pass, and of the backward pass that its trained parameters need.

    Args:
        model: The model, in the mode (train or eval) to count.
        inputs: Example inputs; only shapes and dtypes matter unless the forward pass depends on values.
        backward: Whether to count the backward pass too.
    """
    try:
        return dry_run(model, inputs, lambda copied, empty: _count(copied, empty, backward))
    except NO_DRY_RUN:  # the forward pass needs values
        return _count_on_values(model, inputs, backward)


def _count_on_values(model: nn.Module, inputs: Any, backward: bool) -> float:
    """Count on real inputs, on the CPU if possible, where math attention exposes its matrix products."""
    device = next(model.parameters()).device
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")  # torch warns about settings of other devices
            with torch.backends.mkldnn.flags(enabled=False):
                return _count(copy.deepcopy(model).cpu(), map_tensors(lambda t: t.cpu(), inputs), backward)
    except NO_DRY_RUN:
        if device.type != "cuda":
            raise
        # GPU-only kernels are not counted here, but everything else is.
        with random_numbers_kept(device):
            return _count(copy.deepcopy(model), inputs, backward)


def _count(model: nn.Module, inputs: Any, backward: bool) -> float:
    with counter() as counted, torch.set_grad_enabled(backward):
        output = call(model, inputs)
        if backward and isinstance(output, Tensor) and output.requires_grad:
            output.sum().backward()
    return float(counted.get_total_flops())
