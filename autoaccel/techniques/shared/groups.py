"""Parameter groups for all optimizers, with hyperparameters that may follow schedules of progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from autoaccel.core.schedules import Schedule
from autoaccel.techniques.base import Context, Number, OptimizerTechnique, value
from autoaccel.techniques.shared.gradients import as_real, make_dense, steps_as_real, with_dense_gradients
from autoaccel.techniques.shared.modules import Factor

Group = dict[str, Any]


class GroupedOptimizer(OptimizerTechnique):
    """Base class of optimizers that split the parameters into groups, each with its own hyperparameters.

    Attributes:
        counters: Keys of counters that are stored in a group, not in its parameters' state; kept on a rebuild.
    """

    counters: ClassVar[tuple[str, ...]] = ()

    def split(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """Return the trained parameters by group name."""
        raise NotImplementedError

    def numbers(self, group: str, p: float) -> Group:
        """Return a group's hyperparameters at progress `p`; `initial_lr` is the peak learning rate."""
        raise NotImplementedError

    def build(self, groups: list[Group]) -> torch.optim.Optimizer:
        """Return the optimizer for groups that contain their hyperparameters."""
        raise NotImplementedError

    def setup(self, context: Context) -> None:
        """Build the optimizer for the current parameters of the model.

        It gets dense gradients, also of embeddings with `sparse=True`, and real views of complex parameters.
        """
        with_dense_gradients(context.model)
        before = {} if context.optimizer is None else {g["name"]: g for g in context.optimizer.param_groups}
        groups = []
        for name, params in self.split(context.model).items():
            counted = {key: count for key, count in before.get(name, {}).items() if key in self.counters}
            if params:
                groups.append({**self._group(name, context.p), **counted, "params": params})
        with as_real(context.model.parameters()):
            context.optimizer = self.build(groups)
        steps_as_real(context.optimizer)

    def _group(self, name: str, p: float) -> Group:
        numbers = self.numbers(name, p)
        return {"name": name, "lr": numbers["initial_lr"], **numbers}

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Update the scheduled hyperparameters; the learning rate component then scales the peak `initial_lr`.

        Before other techniques see the gradients, those that are sparse become dense.
        """
        make_dense(p for group in context.optimizer.param_groups for p in group["params"])
        if any(isinstance(number, Schedule) for number in vars(self).values()):
            for group in context.optimizer.param_groups:
                group.update(self.numbers(group["name"], context.p))
        yield


class DecayedOptimizer(GroupedOptimizer):
    """Base class of optimizers whose groups differ only in weight decay."""

    lr: Number
    weight_decay: Number
    decay_all: bool = False

    def shared(self, p: float) -> Group:
        """Return the hyperparameters of all groups at progress `p`, except learning rate and weight decay."""
        raise NotImplementedError

    def split(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """Separate decayed matrices from no-decay parameters and low-rank factors."""
        return decay_split(model, self.decay_all)

    def numbers(self, group: str, p: float) -> Group:
        """Return the hyperparameters at progress `p`; only the group `decayed` has weight decay."""
        decay = value(self.weight_decay, p) if group == "decayed" else 0.0
        return {"initial_lr": value(self.lr, p), "weight_decay": decay, **self.shared(p)}


def decay_split(model: nn.Module, decay_all: bool) -> dict[str, list[Tensor]]:
    """Split the trained parameters into the groups `decayed`, `no_decay` and `factors`.

    Args:
        model: The model whose trained parameters are split.
        decay_all: Decay every parameter, as torch does by default.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    vectors, factors = (set(), set()) if decay_all else (vectors_in(model), factors_in(model))
    return {
        "decayed": [p for p in trained if id(p) not in vectors | factors],
        "no_decay": [p for p in trained if id(p) in vectors],
        "factors": [p for p in trained if id(p) in factors],
    }


def vectors_in(model: nn.Module) -> set[int]:
    """Return the ids of gains, biases and embeddings."""
    small = {id(p) for p in model.parameters() if p.ndim < 2}
    return small | {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}


def factors_in(model: nn.Module) -> set[int]:
    """Return the ids of the factors of low-rank products."""
    return {id(p) for p in model.parameters() if isinstance(p, Factor)}
