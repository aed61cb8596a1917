"""Quantize weights to int8: quantization-aware training near the end, int8 storage at finalization."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field

from torch import nn

from autoaccel.techniques.base import Context, Technique, parameter, technique
from autoaccel.techniques.shared.frozen import own_weight
from autoaccel.techniques.shared.modules import Unfused, extend, output_layers, own_layers, restore, unfuse
from autoaccel.techniques.shared.quantized import FakeInt8, store_int8


@technique(
    "quantization",
    family="model",
    category="model compression",
    tags=("fakes_precision",),
    conflicts=("fakes_precision",),
    # Before depth growth (56) lets blocks share weights: only weights that belong to one layer are quantized.
    order=55,
    paper="arXiv 1712.05877",
)
class Quantization(Technique):
    """Train with int8-rounded weights near the end and save a file a quarter of the size.

    From then on, evaluation uses the rounded weights. Matrix products stay in floating point: no speed is gained.

    Args:
        at: Progress from which weights are rounded in every forward pass.
        output: Also quantize the last layer.
    """

    at: float = parameter(0.75, 0.6, 0.9)
    output: bool = parameter(False, options=(False, True))
    layers: list[str] = field(init=False, default_factory=list, repr=False)

    def setup(self, context: Context) -> None:
        """Choose the layers now: once compiled, the model does not show which layer runs last.

        Layers that the user froze keep their weights, and complex ones have no int8 form.
        """
        skipped: list[nn.Module] = []
        if not self.output:
            inputs = next(context.training_batches(2))
            skipped = output_layers(context.model, lambda: context.forward(inputs))
        layers = {name: layer for name, layer in own_layers(context.model).items() if layer not in skipped}
        weights = {name: own_weight(layer) for name, layer in layers.items()}
        self.layers = [n for n, weight in weights.items() if weight is not None and not weight.is_complex()]

    @contextmanager
    def step(self, context: Context) -> Iterator[None]:
        """Begin after the first step with progress of at least `at`."""
        yield
        self._begin(context)

    @contextmanager
    def evaluate(self, context: Context) -> Iterator[None]:
        """Evaluate rounded weights, also if progress has passed `at` only since the last step."""
        self._begin(context)
        yield

    def deliverable(self, context: Context) -> bool:
        """Return whether rounded weights are evaluated, as they are stored."""
        return context.p >= self.at

    def _begin(self, context: Context) -> None:
        if context.p < self.at:
            return
        if fresh := [layer for layer in self._layers(context) if not isinstance(layer, FakeInt8)]:
            unfuse(context.model)
        for layer in fresh:
            extend(layer, FakeInt8)

    def finish(self, context: Context) -> None:
        """Store the weights in int8."""
        for layer in self._layers(context):
            store_int8(layer)
        for module in context.model.modules():
            restore(module, Unfused)

    def _layers(self, context: Context) -> list[nn.Module]:
        return [context.model.get_submodule(name) for name in self.layers]
