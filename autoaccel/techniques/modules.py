"""Changing what modules do while they stay where they are: names of parameters, and so saved weights, are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autoaccel.techniques.tensors import call

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Factor(nn.Parameter):
    """A factor of a product of matrices. What optimizers do to whole matrices is not meant for it alone."""


def extend(module: nn.Module, behavior: type[nn.Module]) -> None:
    """Put the methods of `behavior` before those of the module's class, as torch's own parametrizations do.

    A closure over the old `forward` would go on pointing to this module in every copy of it; a class does not.

    Args:
        module: Changed in place.
        behavior: A class whose `forward` may call `super().forward`.
    """
    module.__class__ = type(f"{behavior.__name__}{type(module).__name__}", (behavior, type(module)), {})


def restore(module: nn.Module, behavior: type[nn.Module]) -> None:
    """Undo `extend`, also under other behaviors that were put on top of it."""
    behaviors = []
    while isinstance(module, behavior):
        above, module.__class__ = type(module).__bases__
        behaviors.append(above)
    for above in reversed(behaviors[:-1]):
        extend(module, above)


class Unfused(nn.Module):
    """Put before `nn.TransformerEncoderLayer`: the layers inside it are called in eval mode too.

    torch's fast path reads their weights and passes their `forward` by, and with it what extends them.
    """

    activation_relu_or_gelu = property(lambda self: 0)


def unfuse(model: nn.Module) -> None:
    """Keep torch's fast path away from every encoder layer of the model."""
    for module in list(model.modules()):
        if isinstance(module, nn.TransformerEncoderLayer) and not isinstance(module, Unfused):
            extend(module, Unfused)


def own_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Linear layers and convolutions by name whose weight no other module shares, and only their forward reads.

    The output projection of torch's attention is left out: attention reads its weight and never calls it.
    """
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    return {
        name: module
        for name, module in model.named_modules()
        if (isinstance(module, LAYERS) or is_transposed_linear(module))
        and not isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear)
        and owners[id(module.weight)] == 1
    }


def is_transposed_linear(module: nn.Module) -> bool:
    """Whether it is the linear layer of GPT-2 in transformers, whose weight is [in, out]."""
    return hasattr(module, "nf") and any(kind.__name__ == "Conv1D" for kind in type(module).__mro__)


def projections(model: nn.Module) -> dict[str, nn.Module]:
    """Those of `own_layers` that multiply by a matrix."""
    return {n: m for n, m in own_layers(model).items() if isinstance(m, nn.Linear) or is_transposed_linear(m)}


def output_layers(model: nn.Module, run: Callable[[], Any]) -> list[nn.Module]:
    """The layer that ran last, in a list: it makes the output, whose shape is the task's.

    Args:
        model: Run once, in eval mode and without gradients.
        run: Calls the model with any batch.
    """
    ran: list[nn.Module] = []
    layers: list[nn.Module] = [m for m in model.modules() if isinstance(m, LAYERS)]
    with _hooked(layers, lambda module, *_: ran.append(module)), torch.no_grad(), evaluating(model):
        run()
    return ran[-1:]


def repeated_blocks(model: nn.Module, inputs: Any) -> list[nn.Module]:
    """The blocks of a deep model in the order in which they run: each maps a tensor to one of the same shape.

    Blocks are siblings in a `ModuleList` or `Sequential` that have layers of their own. They are taken for
    residual: leaving one out leaves the shapes, and most of what flows, as they are.

    Args:
        model: Called once, in eval mode and without gradients.
        inputs: Any batch that it accepts.
    """
    found: list[nn.Module] = []

    def hook(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        same = bool(given) and isinstance(given[0], Tensor) and isinstance(output, Tensor)
        if same and given[0].shape == output.shape and module not in found:
            found.append(module)

    with _hooked(list(_candidates(model)), hook), torch.no_grad(), evaluating(model):
        call(model, inputs)
    inner = {id(part) for block in found for part in block.modules() if part is not block}
    return [block for block in found if id(block) not in inner]


def _candidates(model: nn.Module) -> Iterator[nn.Module]:
    for container in model.modules():
        if isinstance(container, nn.ModuleList | nn.Sequential):
            yield from (
                child for child in container if len(list(child.children())) and len(list(child.parameters()))
            )


@contextmanager
def _hooked(modules: list[nn.Module], hook: Callable[..., None]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The whole model in eval mode, and then every module in the mode that it had."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
