"""Optimizers, with weight decay kept away from gains, biases and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autoaccel.schedules import Schedule
from autoaccel.techniques.base import Context, Number, OptimizerTechnique, parameter, technique, value
from autoaccel.techniques.modules import Factor

Group = dict[str, Any]


class GroupedOptimizer(OptimizerTechnique):
    """Base of the optimizers here: parameters by group, and the numbers of a group at each progress."""

    def split(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """The trained parameters by the name of their group."""
        raise NotImplementedError

    def numbers(self, group: str, p: float) -> Group:
        """Hyperparameters of a group at progress `p`; `initial_lr` is the learning rate's peak."""
        raise NotImplementedError

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """The optimizer over groups that hold their own numbers."""
        raise NotImplementedError

    def setup(self, context: Context) -> None:
        """Build the optimizer over the model as it is now."""
        split = self.split(context.model)
        context.optimizer = self.build(
            [self._group(name, context.p) | {"params": params} for name, params in split.items() if params]
        )

    def _group(self, name: str, p: float) -> Group:
        numbers = self.numbers(name, p)
        return {"name": name, "lr": numbers["initial_lr"], **numbers}

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Follow the numbers that are schedules; the learning rate's shape multiplies its peak afterwards."""
        if any(isinstance(number, Schedule) for number in vars(self).values()):
            for group in context.optimizer.param_groups:
                group.update(self.numbers(group["name"], context.p))
        yield


def decay_split(model: nn.Module, decay_all: bool) -> dict[str, list[Tensor]]:
    """Trained parameters with and without weight decay.

    Args:
        model: Its trained parameters are split.
        decay_all: Decay every parameter, as torch does by itself.
    """
    spared = set() if decay_all else spared_from_decay(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    return {
        "decayed": [p for p in trained if id(p) not in spared],
        "spared": [p for p in trained if id(p) in spared],
    }


def spared_from_decay(model: nn.Module) -> set[int]:
    """Ids of gains, biases, embeddings and the factors of low-rank products."""
    small = {id(p) for p in model.parameters() if p.ndim < 2 or isinstance(p, Factor)}
    return small | {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}


@technique(
    "adamw",
    family="optimization",
    cell="learning rate selection",
    slot="optimizer",
    order=60,
    paper="arXiv 1711.05101",
)
class AdamW(GroupedOptimizer):
    """Adam with decoupled weight decay.

    Args:
        lr: Learning rate at its peak.
        weight_decay: Decoupled weight decay.
        beta1: Memory of the mean gradient.
        beta2: Memory of its square.
        decay_all: Decay every parameter, not only matrices.
    """

    lr: Number = parameter(1e-3, 1e-4, 3e-2, log=True)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True)
    beta1: Number = parameter(0.9, 0.8, 0.95)
    beta2: Number = parameter(0.999, 0.9, 0.999)
    decay_all: bool = parameter(False, options=(False, True))

    def split(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """Matrices apart from the rest."""
        return decay_split(model, self.decay_all)

    def numbers(self, group: str, p: float) -> Group:
        """Everything but the decay is the same in both groups."""
        decay = value(self.weight_decay, p) if group == "decayed" else 0.0
        betas = (value(self.beta1, p), value(self.beta2, p))
        return {"initial_lr": value(self.lr, p), "weight_decay": decay, "betas": betas}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """torch's own, fused."""
        return torch.optim.AdamW(groups, fused=True)


@technique(
    "sgd",
    family="optimization",
    cell="learning rate selection",
    slot="optimizer",
    order=60,
    paper="Sutskever et al. 2013",
)
class SGD(GroupedOptimizer):
    """Stochastic gradient descent with Nesterov momentum.

    Args:
        lr: Learning rate at its peak.
        momentum: Share of the last step that is kept.
        weight_decay: L2 penalty.
        decay_all: Decay every parameter, not only matrices.
    """

    lr: Number = parameter(0.05, 1e-2, 1.0, log=True)
    momentum: Number = parameter(0.9, 0.8, 0.98)
    weight_decay: Number = parameter(5e-4, 1e-6, 1e-2, log=True)
    decay_all: bool = parameter(False, options=(False, True))

    def split(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """Matrices apart from the rest."""
        return decay_split(model, self.decay_all)

    def numbers(self, group: str, p: float) -> Group:
        """Everything but the decay is the same in both groups."""
        decay = value(self.weight_decay, p) if group == "decayed" else 0.0
        momentum = value(self.momentum, p)
        return {
            "initial_lr": value(self.lr, p),
            "weight_decay": decay,
            "momentum": momentum,
            "nesterov": momentum > 0,
        }

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """torch's own, fused."""
        return torch.optim.SGD(groups, fused=True)


def orthogonalized(update: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrices by Newton-Schulz iteration, shape [..., m, n].

    The quintic coefficients are Keller Jordan's; singular values end between about 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    # Old CPUs multiply bfloat16 slowly; there float32 gives the same update in less time.
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
    """Muon for matrices and convolution kernels, AdamW for everything else, as one optimizer.

    Args:
        groups: Parameter groups; those with `"muon": True` are orthogonalized.
    """

    def __init__(self, groups: Iterable[Group]):
        defaults = {"lr": 0.02, "weight_decay": 0.0, "muon": False, "momentum": 0.95, "betas": (0.9, 0.95)}
        super().__init__(groups, {**defaults, "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
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
            ratio = max(1.0, matrices.size(-2) / matrices.size(-1)) ** 0.5
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
    cell="learning rate selection",
    slot="optimizer",
    order=60,
    paper="Jordan et al. 2024; arXiv 2502.16982",
)
class Muon(GroupedOptimizer):
    """Orthogonalized momentum for hidden matrices and kernels, AdamW for the rest.

    Args:
        lr: Learning rate of the matrices at its peak.
        adam_lr: Learning rate of all other parameters.
        momentum: Share of the last step that is kept.
        weight_decay: Decoupled weight decay of the matrices, the last layer's included.
    """

    lr: Number = parameter(0.02, 2e-3, 0.1, log=True)
    adam_lr: Number = parameter(3e-3, 3e-4, 2e-2, log=True)
    momentum: Number = parameter(0.95, 0.8, 0.98)
    weight_decay: Number = parameter(0.01, 1e-4, 0.3, log=True)

    def split(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """Hidden matrices and kernels, the last layer, and the rest: gains, biases, embeddings."""
        trained = [p for p in model.parameters() if p.requires_grad]
        rest = spared_from_decay(model)
        head = _head(model) - rest
        return {
            "hidden": [p for p in trained if id(p) not in rest | head],
            "head": [p for p in trained if id(p) in head],
            "rest": [p for p in trained if id(p) in rest],
        }

    def numbers(self, group: str, p: float) -> Group:
        """Muon's numbers for hidden matrices, AdamW's for the others."""
        decay = 0.0 if group == "rest" else value(self.weight_decay, p)
        if group != "hidden":
            return {"initial_lr": value(self.adam_lr, p), "weight_decay": decay}
        momentum = value(self.momentum, p)
        return {"initial_lr": value(self.lr, p), "momentum": momentum, "weight_decay": decay, "muon": True}

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Both as one."""
        return MuonWithAdamW(groups)


def _head(model: nn.Module) -> set[int]:
    """The last linear layer: its rows are classes, which have nothing to do with each other."""
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
    return {id(m.weight) for m in last}
