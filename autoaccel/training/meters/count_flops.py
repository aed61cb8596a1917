"""Count the FLOPs of a forward pass and its backward pass without running them.

PyTorch's own counter counts them on a copy of the model on the `meta` device, which holds no data, once per input
shape and set of trained parameters. Plain CPU tensors would count zero for attention and recurrent layers. PyTorch
omits matrix decompositions; these are counted by the formulas of Golub & Van Loan, Matrix Computations, 4th
edition. A model that needs values is counted on them, and one that cannot be copied, in place.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import is_dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from autoaccel.techniques.shared.tensors import call, map_tensors, random_numbers_kept, tensors_in

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


def _of_tensors(formula: Callable[..., int]) -> Callable[..., int]:
    """Let PyTorch pass a formula the tensors, not their shapes."""
    cast(Any, formula)._get_raw = True
    return formula


@_of_tensors
def _product_flops(a: Tensor, b: Tensor, *_: Any, **__: Any) -> int:
    """Count a product of matrices, of which one may be sparse: then only its nonzeros are multiplied."""
    if b.layout is not torch.strided:
        return 2 * a.shape[0] * b._nnz()
    return 2 * (a.numel() if a.layout is torch.strided else a._nnz()) * b.shape[1]


@_of_tensors
def _added_product_flops(_: Tensor, a: Tensor, b: Tensor, *__: Any, **___: Any) -> int:
    return _product_flops(a, b)


FORMULAS = {
    torch.ops.aten.linalg_qr: _qr_flops,
    torch.ops.aten._linalg_eigh: _eigh_flops,
    torch.ops.aten.mm: _product_flops,
    torch.ops.aten._sparse_addmm: _added_product_flops,
}
"""What PyTorch counts as nothing, or as if it were dense."""


def counter() -> FlopCounterMode:
    """Return PyTorch's FLOP counter, extended to matrix decompositions and sparse matrices."""
    return FlopCounterMode(display=False, custom_mapping=dict(FORMULAS))


def meta_copy(model: nn.Module) -> nn.Module:
    """Return a copy of the model on the `meta` device, without data in its parameters and buffers."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
    for buffer in model.buffers():
        if buffer.layout is not torch.strided:
            raise NotImplementedError("without data, a sparse tensor does not say what its products cost")
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
        model: The model, in the mode (train or eval) to count. Buffers, gradients and modes stay as they are.
        inputs: Example inputs; only shapes and dtypes matter unless the forward pass depends on values.
        backward: Whether to count the backward pass too.

    Raises:
        Exception: If the model runs in no way in which PyTorch can count: whatever the last way raised.
    """
    try:
        return dry_run(model, inputs, lambda copied, empty: _count(copied, empty, backward))
    except Exception:  # the forward pass needs values, or the model cannot be copied
        pass
    try:
        return _count_on_cpu(model, inputs, backward)
    except Exception:  # it needs kernels of a GPU, or cannot be copied
        return _count_in_place(model, inputs, backward)


def estimated_flops(model: nn.Module, inputs: Any, backward: bool) -> float:
    """Return 2 FLOPs a parameter and sample for the forward pass, and twice that for the backward pass."""
    samples = max((len(t) for t in tensors_in(inputs) if t.dim()), default=1)
    return 2.0 * samples * sum(p.numel() for p in model.parameters()) * (3 if backward else 1)


@contextmanager
def _visible_products() -> Iterator[None]:
    """Compute attention and recurrent layers as matrix products, which the counter sees, if they are on the CPU."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
        warnings.simplefilter("ignore")  # torch warns about settings of other devices
        yield


def _count_on_cpu(model: nn.Module, inputs: Any, backward: bool) -> float:
    """Count on real inputs with a copy of the model on the CPU."""
    with _visible_products():
        return _count(copy.deepcopy(model).cpu(), map_tensors(lambda t: t.cpu(), inputs), backward)


def _count_in_place(model: nn.Module, inputs: Any, backward: bool) -> float:
    """Count on real inputs with the model itself, where it is: kernels that only GPUs have are not counted."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    buffers = [
        (m._buffers, n, b, b.clone()) for m in model.modules() for n, b in m._buffers.items() if b is not None
    ]
    visible = _visible_products() if device.type == "cpu" else nullcontext()
    try:
        with random_numbers_kept(device), visible, counter() as counted, torch.set_grad_enabled(backward):
            output = call(model, inputs)
            if backward and (outputs := _differentiable(output)):
                # Not backward(), which would add to the gradients of the training.
                wanted = [p for p in model.parameters() if p.requires_grad]
                torch.autograd.grad(outputs, wanted, [torch.ones_like(t) for t in outputs], allow_unused=True)
    finally:
        with torch.no_grad():
            for held, name, buffer, before in buffers:
                held[name] = buffer.copy_(before)
    return float(counted.get_total_flops())


def _count(model: nn.Module, inputs: Any, backward: bool) -> float:
    with counter() as counted, torch.set_grad_enabled(backward):
        output = call(model, inputs)
        if backward and (outputs := _differentiable(output)):
            torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])
    return float(counted.get_total_flops())


def _differentiable(output: Any) -> list[Tensor]:
    """Return the tensors of an output that a loss may depend on."""
    parts = vars(output) if is_dataclass(output) and not isinstance(output, Mapping) else output
    return [t for t in tensors_in(parts) if t.requires_grad]
