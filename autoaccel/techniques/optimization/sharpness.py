"""Sharpness-aware minimization: seek flat minima with gradients from nearby weights of higher loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field

import torch
from torch import Tensor

from autoaccel.techniques.base import Batch, Context, Number, Technique, parameter, technique, value


@technique(
    "sam",
    family="optimization",
    category="efficient objectives",
    tags=("recomputes_gradients",),
    # Both gradients would have to be scaled and unscaled, and each could overflow.
    conflicts=("recomputes_gradients", "scales_gradients"),
    # After every technique that draws random numbers for a batch, and before clipping, which acts on the final
    # gradient.
    order=64,
    paper="arXiv 2010.01412",
)
class Sam(Technique):
    """Every few steps, compute the gradient at weights moved uphill; such a step costs twice as much.

    Args:
        rho: Norm of the uphill move over all parameters.
        every: Number of steps from one such step to the next.
        since: Progress from which such steps are made.
    """

    rho: Number = parameter(0.1, 0.02, 0.5, log=True)
    every: int = parameter(5, 1, 10, integer=True)
    since: float = parameter(0.0, 0.0, 0.8)
    count: int = field(init=False, default=0, repr=False)
    random: list[Tensor] = field(init=False, default_factory=list, repr=False)

    def batch(self, context: Context, batch: Batch) -> Batch:
        """Save the random states before the forward of a step that recomputes its gradient."""
        if context.p >= self.since:
            self.random = _random_states(context) if self.count % self.every == 0 else []
            self.count += 1
        return batch

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Recompute the gradients of the same batch at the uphill weights, and restore the weights."""
        if self.random:
            with _uphill(context, value(self.rho, context.p)), _replayed(context, self.random):
                context.recompute_gradients()
            self.random = []
        yield


@contextmanager
def _uphill(context: Context, rho: float) -> Iterator[None]:
    """Move the weights by `rho` along their gradient, and restore them exactly on exit."""
    trained = [p for p in context.model.parameters() if p.grad is not None]
    weights = [p.detach() for p in trained]
    gradients = [p.grad for p in trained if p.grad is not None]
    saved = [weight.clone() for weight in weights]
    scale = rho / (torch.nn.utils.get_total_norm(gradients) + 1e-12)
    torch._foreach_add_(weights, torch._foreach_mul(gradients, scale))
    try:
        yield
    finally:
        torch._foreach_copy_(weights, saved)


@contextmanager
def _replayed(context: Context, random: list[Tensor]) -> Iterator[None]:
    """Replay random states, for the same dropout masks; restore random states and buffers on exit."""
    buffers = [buffer.detach() for buffer in context.model.buffers()]
    saved, after = [buffer.clone() for buffer in buffers], _random_states(context)
    _set_random_states(context, random)
    try:
        yield
    finally:
        _set_random_states(context, after)
        for buffer, statistics in zip(buffers, saved, strict=True):
            buffer.copy_(statistics)


def _random_states(context: Context) -> list[Tensor]:
    """Return the states of all generators that a forward or a loss may use."""
    states = [torch.get_rng_state(), context.generator.get_state(), context.shared.get_state()]
    if context.device.type != "cpu":
        states.append(torch.get_device_module(context.device).get_rng_state())
    return states


def _set_random_states(context: Context, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    context.generator.set_state(states[1])
    context.shared.set_state(states[2])
    if context.device.type != "cpu":
        torch.get_device_module(context.device).set_rng_state(states[3])
