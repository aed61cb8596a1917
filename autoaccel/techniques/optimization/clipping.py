"""Gradient clipping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autoaccel.techniques.base import Context, Number, Technique, parameter, technique, value


@technique(
    "clip",
    family="optimization",
    category="learning rate selection",
    order=66,
    paper="arXiv 1211.5063",
)
class Clip(Technique):
    """Scale the gradient down when its norm is too large.

    Args:
        norm: Largest gradient norm over all parameters.
    """

    norm: Number = parameter(1.0, 0.1, 10.0, log=True)

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Clip the gradient norm before the optimizer step."""
        torch.nn.utils.clip_grad_norm_(context.model.parameters(), value(self.norm, context.p))
        yield
