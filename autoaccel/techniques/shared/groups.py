"""What all optimizers share: groups of parameters, each with numbers of its own that may move with progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from autoaccel.core.schedules import Schedule
from autoaccel.techniques.base import Context, Number, OptimizerTechnique, value
from autoaccel.techniques.shared.modules import Factor

Group = dict[str, Any]


class GroupedOptimizer(OptimizerTechnique):
    """Base of the optimizers here: parameters by group, and the numbers of a group at each progress.

    Attributes:
        counters: What a group itself counts, beside its parameters' states: kept when the optimizer is built anew.
    """

    counters: ClassVar[tuple[str, ...]] = ()

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
        before = {} if context.optimizer is None else {g["name"]: g for g in context.optimizer.param_groups}
        groups = []
        for name, params in self.split(context.model).items():
            counted = {key: count for key, count in before.get(name, {}).items() if key in self.counters}
            if params:
                groups.append({**self._group(name, context.p), **counted, "params": params})
        context.optimizer = self.build(groups)

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


class DecayedOptimizer(GroupedOptimizer):
    """Base of those whose groups differ by weight decay alone."""

    lr: Number
    weight_decay: Number
    decay_all: bool = False

    def shared(self, p: float) -> Group:
        """Hyperparameters of both groups at progress `p`, without learning rate and decay."""
        raise NotImplementedError

    def split(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """Matrices apart from the rest."""
        return decay_split(model, self.decay_all)

    def numbers(self, group: str, p: float) -> Group:
        """Everything but the decay is the same in both groups."""
        decay = value(self.weight_decay, p) if group == "decayed" else 0.0
        return {"initial_lr": value(self.lr, p), "weight_decay": decay, **self.shared(p)}


def decay_split(model: nn.Module, decay_all: bool) -> dict[str, list[Tensor]]:
    """Trained parameters with and without weight decay.

    Args:
        model: Its trained parameters are split.
        decay_all: Decay every parameter, as torch does by itself.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    vectors, factors = (set(), set()) if decay_all else (vectors_in(model), factors_in(model))
    return {
        "decayed": [p for p in trained if id(p) not in vectors | factors],
        "no_decay": [p for p in trained if id(p) in vectors],
        "factors": [p for p in trained if id(p) in factors],
    }


def vectors_in(model: nn.Module) -> set[int]:
    """Ids of gains, biases and embeddings."""
    small = {id(p) for p in model.parameters() if p.ndim < 2}
    return small | {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}


def factors_in(model: nn.Module) -> set[int]:
    """Ids of the factors of low-rank products."""
    return {id(p) for p in model.parameters() if isinstance(p, Factor)}
