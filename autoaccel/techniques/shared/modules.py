"""Find modules, and change their behavior in place, which keeps parameter names and saved weights valid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from autoaccel.techniques.shared.frozen import own_weight
from autoaccel.techniques.shared.tensors import call, tensors_in

_JOINED: dict[tuple[type[nn.Module], type[nn.Module]], type[nn.Module]] = {}
"""The class for each pair of behavior and module class: modules of different classes are compiled separately."""

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Factor(nn.Parameter):
    """A factor of a matrix product, which optimizers must not treat as a whole matrix."""


def extend(module: nn.Module, behavior: type[nn.Module]) -> None:
    """Override the methods of a module with those of `behavior`, as torch's parametrizations do.

    This changes the module's class. Copies of a module with a patched `forward` would still call the original
    module.

    Args:
        module: The module, changed in place.
        behavior: A class whose `forward` may call `super().forward`.
    """
    kinds = (behavior, type(module))
    if kinds not in _JOINED:
        _JOINED[kinds] = type(f"{behavior.__name__}{type(module).__name__}", kinds, {})
    module.__class__ = _JOINED[kinds]


def restore(module: nn.Module, behavior: type[nn.Module]) -> None:
    """Undo `extend`, and keep other behaviors that were added after it."""
    behaviors = []
    while isinstance(module, behavior):
        above, module.__class__ = type(module).__bases__
        behaviors.append(above)
    for above in reversed(behaviors[:-1]):
        extend(module, above)


class Unfused(nn.Module):
    """Behavior for `nn.TransformerEncoderLayer`: call its inner layers in eval mode too.

    torch's fast path reads their weights without calling `forward`, and so bypasses any extended behavior.
    """

    activation_relu_or_gelu = property(lambda self: 0)


def unfuse(model: nn.Module) -> None:
    """Disable torch's fast path in every encoder layer of the model."""
    for module in list(model.modules()):
        if isinstance(module, nn.TransformerEncoderLayer) and not isinstance(module, Unfused):
            extend(module, Unfused)


def own_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return, by name, linear layers and convolutions whose weight is unshared and read only by their forward.

    The output projection of torch's attention is excluded: attention reads its weight and never calls it.
    """
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    return {
        name: module
        for name, module in model.named_modules()
        if (isinstance(module, LAYERS) or is_transposed_linear(module))
        and not isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear)
        and owners[id(module._parameters.get("weight"))] == 1
    }


def is_transposed_linear(module: nn.Module) -> bool:
    """Return whether a module is the Conv1D of transformers (GPT-2), a linear layer with weight [in, out]."""
    return hasattr(module, "nf") and any(kind.__name__ == "Conv1D" for kind in type(module).__mro__)


def projections(model: nn.Module) -> dict[str, nn.Module]:
    """Return the linear layers among `own_layers` whose weight the user did not freeze."""
    layers = {n: m for n, m in own_layers(model).items() if own_weight(m) is not None}
    return {n: m for n, m in layers.items() if isinstance(m, nn.Linear) or is_transposed_linear(m)}


def output_layers(model: nn.Module, run: Callable[[], Any]) -> list[nn.Module]:
    """Return the layer that runs last, as a list: it produces the output, whose shape the task determines.

    Args:
        model: The model, run once in eval mode and without gradients.
        run: Calls the model with any batch.
    """
    ran: list[nn.Module] = []
    layers = [m for m in model.modules() if isinstance(m, LAYERS)]
    hooks = [layer.register_forward_hook(lambda module, *_: ran.append(module)) for layer in layers]
    with removed(hooks), torch.no_grad(), evaluating(model):
        run()
    return ran[-1:]


def repeated_blocks(model: nn.Module, inputs: Any) -> list[nn.Module]:
    """Return the blocks of a deep model in execution order; each maps a tensor to one of the same shape.

    Blocks are siblings in a `ModuleList` or `Sequential` that have submodules and parameters. They are assumed
    to be residual: skipping one keeps all shapes and most of the signal.

    Args:
        model: The model, called once in eval mode and without gradients.
        inputs: Any batch that the model accepts.
    """
    found: list[nn.Module] = []

    def hook(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        same = bool(given) and isinstance(given[0], Tensor) and isinstance(output, Tensor)
        if same and given[0].shape == output.shape and module not in found:
            found.append(module)

    hooks = [block.register_forward_hook(hook) for block in _candidates(model)]
    with removed(hooks), torch.no_grad(), evaluating(model):
        call(model, inputs)
    inner = {id(part) for block in found for part in block.modules() if part is not block}
    return [block for block in found if id(block) not in inner]


def token_blocks(model: nn.Module, inputs: Any) -> list[nn.Module]:
    """Return the blocks whose input is [n, t, d] and that accept any subset of the t positions.

    Args:
        model: The model, called in eval mode and without gradients.
        inputs: Any batch that the model accepts.
    """
    if len(tensors_in(inputs)) > 1:
        return []  # a mask that masks anything would reach the blocks at full length
    blocks = repeated_blocks(model, inputs)
    with torch.no_grad(), evaluating(model):
        calls = first_calls(blocks, lambda: call(model, inputs))
        return [block for block in blocks if _takes_fewer(block, *calls[block])]


def _takes_fewer(block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
    x, *others = given
    if x.dim() != 3 or x.shape[1] < 2:
        return False
    fewer = x[:, : x.shape[1] // 2]
    try:
        return bool(block(fewer, *others, **named).shape == fewer.shape)
    except Exception:  # any error of the user's block means that it does not accept the shape
        return False


def first_calls(
    modules: Iterable[nn.Module], run: Callable[[], Any]
) -> dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the positional and keyword arguments of each module's first call, in the order of these calls.

    Args:
        modules: The modules to watch; those that are never called are left out.
        run: Calls the model that contains them.
    """
    watched = list(modules)
    calls: dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.setdefault(module, (given, named))

    with removed(module.register_forward_pre_hook(hook, with_kwargs=True) for module in watched):
        run()
    # Copies of the model that were made to count costs have the hooks too.
    known = set(watched)
    return {module: called for module, called in calls.items() if module in known}


def layers_in_order(module: nn.Module, run: Callable[[], Any]) -> list[nn.Module]:
    """Return the submodules that own parameters, in the order of their first call.

    A submodule that is never called, because its parent reads its weights, comes directly after its parent.

    Args:
        module: The module to search.
        run: Calls the module, or the model that contains it.
    """
    order = {part: i for i, part in enumerate(first_calls(module.modules(), run))}
    indices: dict[nn.Module, int] = {}

    def visit(part: nn.Module, around: int) -> None:
        place = order.get(part, around)
        if part not in indices and any(True for _ in part.parameters(recurse=False)):
            indices[part] = place
        for child in part.children():
            visit(child, place)

    visit(module, -1)
    return sorted(indices, key=indices.__getitem__)


def _candidates(model: nn.Module) -> Iterator[nn.Module]:
    for container in model.modules():
        if isinstance(container, nn.ModuleList | nn.Sequential):
            yield from (
                child for child in container if len(list(child.children())) and len(list(child.parameters()))
            )


@contextmanager
def removed(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove the hooks on exit."""
    registered = list(hooks)
    try:
        yield
    finally:
        for hook in registered:
            hook.remove()


def eager_attention(model: nn.Module) -> list[nn.Module]:
    """Return the Hugging Face models within a model that use eager attention but support fused attention."""
    return [
        module
        for module in model.modules()
        if getattr(getattr(module, "config", None), "_attn_implementation", "") == "eager"
        and getattr(module, "_supports_sdpa", False)
        and hasattr(module, "set_attn_implementation")
    ]


def dropouts(model: nn.Module) -> list[nn.modules.dropout._DropoutNd]:
    """Return the dropout modules of a model."""
    return [module for module in model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]


def as_written(model: nn.Module) -> AbstractContextManager[None]:
    """Run a compiled model eagerly: each new size or mode would trigger another compilation."""
    compiled = any(module._compiled_call_impl is not None for module in model.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the whole model in eval mode, and restore the mode of every module on exit."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
