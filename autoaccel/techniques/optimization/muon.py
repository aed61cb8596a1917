"""Muon: update each matrix by the orthogonal matrix nearest to its momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn

from autoaccel.techniques.base import Context, Number, parameter, technique, value
from autoaccel.techniques.shared.groups import Group, GroupedOptimizer, vectors_in
from autoaccel.techniques.shared.modules import is_transposed_linear, output_layers


def orthogonalized(update: Tensor, steps: int = 5) -> Tensor:
    """Return the nearest (semi-)orthogonal matrices by Newton-Schulz iteration, shape [..., m, n].

    The quintic coefficients are Keller Jordan's; the resulting singular values lie between about 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    # Older CPUs multiply bfloat16 slowly: on a CPU, float32 gives the same update in less time.
    x = update.bfloat16() if update.is_cuda else update.float()
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    made: Tensor = (x.mT if tall else x).to(update.dtype)
    return made


class MuonWithAdamW(torch.optim.Optimizer):
    """One optimizer that applies Muon to matrices and convolution kernels, and AdamW to everything else.

    Args:
        groups: Parameter groups; updates of those with `"muon": True` are orthogonalized, and those with
            `"transposed": True` contain matrices of shape [in, out].
    """

    def __init__(self, groups: Iterable[Group]):
        defaults = {"lr": 0.02, "weight_decay": 0.0, "muon": False, "transposed": False}
        super().__init__(groups, {**defaults, "momentum": 0.95, "betas": (0.9, 0.95), "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step with both, and return the closure's loss, if there is a closure."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if trained:
                (self._muon if group["muon"] else self._adamw)(group, trained)
        return loss

    def _muon(self, group: Group, trained: list[Tensor]) -> None:
        grads = [p.grad for p in trained if p.grad is not None]
        buffers = [self._buffer(p, "momentum") for p in trained]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, buffers, group["momentum"])
        torch._foreach_mul_(trained, 1 - group["lr"] * group["weight_decay"])
        for shape in dict.fromkeys(p.shape for p in trained):
            alike = [i for i, p in enumerate(trained) if p.shape == shape]
            matrices = torch.stack([updates[i].flatten(1) for i in alike])
            rows, columns = matrices.shape[-2:]
            if group["transposed"]:
                rows, columns = columns, rows
            ratio = max(1.0, rows / columns) ** 0.5
            for i, made in zip(alike, orthogonalized(matrices), strict=True):
                trained[i].add_(made.view(shape), alpha=-group["lr"] * ratio)

    def _adamw(self, group: Group, trained: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        grads = [p.grad for p in trained if p.grad is not None]
        means = [self._buffer(p, "mean") for p in trained]
        squares = [self._buffer(p, "square") for p in trained]
        steps = [self._count(p) for p in trained]
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        scale = torch._foreach_sqrt(squares)
        torch._foreach_mul_(scale, [(1 - beta2**n) ** -0.5 for n in steps])
        torch._foreach_add_(scale, group["eps"])
        torch._foreach_mul_(trained, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_addcdiv_(trained, means, scale, [-group["lr"] / (1 - beta1**n) for n in steps])

    def _count(self, p: Tensor) -> int:
        state = self.state[p]
        state["steps"] = state.get("steps", 0) + 1
        return int(state["steps"])

    def _buffer(self, p: Tensor, name: str) -> Tensor:
        state: dict[str, Tensor] = self.state[p]
        if name not in state:
            state[name] = torch.zeros_like(p)
        return state[name]


@technique(
    "muon",
    family="optimization",
    category="learning rate selection",
    component="optimizer",
    # Low-rank factors are not hidden matrices: only their product is a direction in weight space.
    conflicts=("adapts",),
    order=60,
    paper="Jordan et al. 2024; arXiv 2502.16982",
)
class Muon(GroupedOptimizer):
    """Optimize hidden matrices and kernels by orthogonalized momentum, and the rest with AdamW.

    Args:
        lr: Peak learning rate of the hidden matrices and kernels.
        adam_lr: Peak learning rate of all other parameters.
        momentum: Decay rate of the mean gradient of hidden matrices and kernels.
        weight_decay: Decoupled weight decay of the matrices, including the last layer's.
    """

    lr: Number = parameter(0.02, 2e-3, 0.1, log=True)
    adam_lr: Number = parameter(3e-3, 3e-4, 2e-2, log=True)
    momentum: Number = parameter(0.95, 0.8, 0.98)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True, least=0.0)
    outputs: list[str] = field(init=False, default_factory=list, repr=False)

    def setup(self, context: Context) -> None:
        """Build the optimizer. Which layer runs last is found once: a compiled model does not show it."""
        if not self.outputs:
            inputs = next(context.training_batches(2))
            last = output_layers(context.model, lambda: context.forward(inputs))
            self.outputs = [name for name, module in context.model.named_modules() if module in last]
        super().setup(context)

    def split(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """Separate hidden matrices and kernels, the last layer, and the rest: gains, biases and embeddings."""
        trained = [p for p in model.parameters() if p.requires_grad]
        vectors = vectors_in(model)
        # The rows of the last layer are independent: they stand for classes.
        last = [model.get_submodule(name) for name in self.outputs]
        head = {id(p) for layer in last for p in layer.parameters()} - vectors
        rest = (vectors | {id(p) for p in trained if not _is_matrix(p)}) - head
        transposed = {id(m.weight) for m in model.modules() if is_transposed_linear(m)} - rest
        return {
            "hidden": [p for p in trained if id(p) not in rest | head | transposed],
            "transposed": [p for p in trained if id(p) in transposed],
            "head": [p for p in trained if id(p) in head],
            "rest": [p for p in trained if id(p) in rest],
        }

    def numbers(self, group: str, p: float) -> Group:
        """Return the hyperparameters of Muon for hidden matrices and kernels, and of AdamW for other groups."""
        decay = 0.0 if group == "rest" else value(self.weight_decay, p)
        if group not in ("hidden", "transposed"):
            return {"initial_lr": value(self.adam_lr, p), "weight_decay": decay}
        numbers = {"initial_lr": value(self.lr, p), "momentum": value(self.momentum, p), "weight_decay": decay}
        return {**numbers, "muon": True, "transposed": group == "transposed"}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Build one optimizer for all groups."""
        return MuonWithAdamW(groups)


def _is_matrix(p: Tensor) -> bool:
    """Return whether there are several real rows and columns: a position table [1, t, d] is one long row."""
    return p.dim() > 1 and len(p) > 1 and p.numel() > len(p) and not p.is_complex()
