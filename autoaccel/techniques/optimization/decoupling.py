"""Optimizer hyperparameters that can be tuned one by one: changing one keeps the best values of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from types import MappingProxyType

from autoaccel.techniques.base import Context, Technique, parameter, technique
from autoaccel.techniques.shared.groups import vectors_in

RATE = 1e-3
"""The learning rate to which an independent weight decay refers."""
SAMPLES = 64
"""The batch size to which the learning rate refers."""
OF_VECTORS = ("no_decay", "rest")
"""Groups of biases, gains and embeddings."""
POWERS: Mapping[str, float] = MappingProxyType({"none": 0.0, "sqrt": 0.5, "linear": 1.0})


@technique(
    "decoupled",
    family="optimization",
    category="learning rate selection",
    # After the optimizer sets its hyperparameters, and before the learning rate component reads them.
    order=61,
    paper="arXiv 1711.05101; arXiv 2404.00498; arXiv 2205.10287",
)
class Decoupled(Technique):
    """Parameterize learning rate, weight decay and batch size so that each can be tuned on its own.

    Args:
        decay: `independent` decays weights as at a learning rate of 1e-3, whatever the peak learning rate is;
            `with_rate` decays them in proportion to it, as optimizers do by default.
        rule: How the learning rate, which refers to 64 samples per step, scales with the first batch size: not at
            all, with its square root, or linearly.
        vectors: Factor on the learning rate of biases, gains and embeddings; other values than 1 need an optimizer
            with a separate group for them.
    """

    decay: str = parameter("independent", options=("independent", "with_rate"))
    rule: str = parameter("sqrt", options=tuple(POWERS))
    vectors: float = parameter(1.0, 0.5, 16.0, log=True)
    size: int = field(init=False, default=0, repr=False)

    def setup(self, context: Context) -> None:
        """Check that `vectors` has a parameter group to act on, unless it is 1.

        Raises:
            ValueError: If biases, gains or embeddings share a group with other parameters.
        """
        if self.vectors == 1:
            return
        vectors = vectors_in(context.model)
        together = any(
            id(p) in vectors
            for group in context.optimizer.param_groups
            if group["name"] not in OF_VECTORS
            for p in group["params"]
        )
        if together:
            raise ValueError(
                f"decoupled: vectors = {self.vectors:g} needs biases and gains in a group of their own: "
                "set the optimizer's decay_all to false, or vectors to 1"
            )

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Set the learning rate factor and the weight decay of every group."""
        self.size = self.size or context.batch_size
        by_size = (self.size / SAMPLES) ** POWERS[self.rule]
        for group in context.optimizer.param_groups:
            group["lr_scale"] = by_size * (self.vectors if group["name"] in OF_VECTORS else 1.0)
            if group["weight_decay"] != group.get("set_decay"):  # the optimizer has set it again
                group["stated_decay"] = group["weight_decay"]
            rate = group["initial_lr"] * group["lr_scale"]
            if self.decay == "independent" and rate > 0:
                group["set_decay"] = group["weight_decay"] = group["stated_decay"] * RATE / rate
        yield
