"""Number formats of the forward and backward passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from autoaccel.techniques.base import Context, Technique, technique


@technique(
    "bf16",
    family="system",
    category="system-centric",
    requires=("fast_bf16",),
    tags=("precision",),
    conflicts=("precision",),
    order=70,
    paper="arXiv 1905.12322",
)
class Bf16(Technique):
    """Compute in bfloat16 under autocast, and keep the weights in float32."""

    def setup(self, context: Context) -> None:
        """Request bf16 mixed precision from Accelerate."""
        context.mixed_precision = "bf16"


@technique(
    "fp16",
    family="system",
    category="system-centric",
    requires=("fp16",),
    tags=("precision", "scales_gradients"),
    # A gradient recomputed within a step would stay scaled: the scaler unscales once per step.
    conflicts=("precision", "recomputes_gradients"),
    order=70,
    paper="arXiv 1710.03740",
)
class Fp16(Technique):
    """Compute in float16 under autocast, and scale the loss so that small gradients do not underflow.

    A step whose gradients overflow is skipped, and the scale is halved.
    """

    def setup(self, context: Context) -> None:
        """Request fp16 mixed precision from Accelerate, which adds its gradient scaler."""
        context.mixed_precision = "fp16"


@technique(
    "fp8",
    family="system",
    category="system-centric",
    requires=("fp8",),
    tags=("precision",),
    # Layers that another technique extends or cuts would no longer compute in float8.
    conflicts=("precision", "fakes_precision", "reshapes_weights", "adapts"),
    order=70,
    package="torchao",
    extra="lowbit",
    paper="arXiv 2209.05433",
)
class Fp8(Technique):
    """Compute the matrix products of linear layers in float8, and everything else in bfloat16.

    Weights stay in float32 under their names. This pays off for wide layers and compiled models.
    """

    def setup(self, context: Context) -> None:
        """Convert all linear layers except the first and the last, the least stable ones (torchao's advice)."""
        from torchao.float8 import Float8LinearConfig
        from torchao.float8.float8_linear import Float8Linear

        inner = {id(module) for module in _linear_layers(context.model)[1:-1] if _fits_units(module)}
        config = Float8LinearConfig(pad_inner_dim=True)  # accept any number of rows: the last batch may be odd
        context.swap(lambda m: id(m) in inner, lambda m: Float8Linear.from_float(m, config=config))
        context.mixed_precision = "bf16"

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Evaluate with plain linear layers, which are what is delivered."""
        from torchao.float8.float8_linear import Float8Linear

        converted = [module for module in context.model.modules() if type(module) is Float8Linear]
        for module in converted:
            module.__class__ = nn.Linear
        try:
            yield
        finally:
            for module in converted:
                module.__class__ = Float8Linear


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    """Return plain linear layers, without those that another technique has extended."""
    return [module for module in model.modules() if type(module) is nn.Linear]


def _fits_units(layer: nn.Linear) -> bool:
    """Return whether float8 matrix units support the layer: both dimensions are multiples of 16."""
    return layer.in_features % 16 == 0 and layer.out_features % 16 == 0
