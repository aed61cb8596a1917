"""Parameters and gradients in the form that every optimizer takes: dense and real."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def with_dense_gradients(model: nn.Module) -> None:
    """Let embeddings that were made with `sparse=True` have dense gradients.

    Few optimizers take sparse gradients, and neither does clipping. The gradients are equal; momentum and weight
    decay then also move the rows that a batch does not contain, as they do for every other embedding.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.sparse = False


def make_dense(parameters: Iterable[Tensor]) -> None:
    """Make the sparse gradients of dense parameters dense, now and after every later backward."""
    for parameter in parameters:
        if parameter.grad is not None and _is_sparse(parameter):
            _densify(parameter)
            parameter.register_post_accumulate_grad_hook(_densify)


def _is_sparse(parameter: Tensor) -> bool:
    return parameter.grad is not None and parameter.grad.layout != parameter.layout


def _densify(parameter: Tensor) -> None:
    if parameter.grad is not None and _is_sparse(parameter):
        parameter.grad = parameter.grad.to_dense()


@contextmanager
def as_real(parameters: Iterable[Tensor]) -> Iterator[None]:
    """Give complex parameters and their gradients a real dtype and a last dimension of 2, and undo it on exit."""
    seen = [p for p in parameters if p.is_complex()]
    before = _made_real(seen)
    try:
        yield
    finally:
        _made_complex(seen, before)


def steps_as_real(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer see complex parameters as real ones whenever it makes a step; its state is real too."""
    complex_ones = [p for group in optimizer.param_groups for p in group["params"] if p.is_complex()]
    before: list[Tensor | None] = []

    def enter(*_: Any) -> None:
        before[:] = _made_real(complex_ones)

    def leave(*_: Any) -> None:
        _made_complex(complex_ones, before)

    if complex_ones:
        optimizer.register_step_pre_hook(enter)
        optimizer.register_step_post_hook(leave)


def _made_real(parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Change the parameters to real views of their memory, and return their complex gradients."""
    gradients = [p.grad for p in parameters]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None
        parameter.data = torch.view_as_real(parameter.data)
        if gradient is not None:
            parameter.grad = torch.view_as_real(gradient.resolve_conj())
    return gradients


def _made_complex(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None
        parameter.data = torch.view_as_complex(parameter.data)
        parameter.grad = gradient
