"""Changing what modules do while they stay where they are: names of parameters, and so saved weights, are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from autoaccel.techniques.shared.tensors import call, tensors_in

_JOINED: dict[tuple[type[nn.Module], type[nn.Module]], type[nn.Module]] = {}
"""One class for all modules of a kind: a compiler takes modules of different classes for different code."""

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
    kinds = (behavior, type(module))
    if kinds not in _JOINED:
        _JOINED[kinds] = type(f"{behavior.__name__}{type(module).__name__}", kinds, {})
    module.__class__ = _JOINED[kinds]


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
    layers = [m for m in model.modules() if isinstance(m, LAYERS)]
    hooks = [layer.register_forward_hook(lambda module, *_: ran.append(module)) for layer in layers]
    with removed(hooks), torch.no_grad(), evaluating(model):
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

    hooks = [block.register_forward_hook(hook) for block in _candidates(model)]
    with removed(hooks), torch.no_grad(), evaluating(model):
        call(model, inputs)
    inner = {id(part) for block in found for part in block.modules() if part is not block}
    return [block for block in found if id(block) not in inner]


def token_blocks(model: nn.Module, inputs: Any) -> list[nn.Module]:
    """The blocks whose input is [n, t, d] and that work on any part of the t positions.

    Args:
        model: Called in eval mode and without gradients.
        inputs: Any batch that it accepts.
    """
    if len(tensors_in(inputs)) > 1:
        return []  # a mask beside the inputs would reach the blocks at full length, once it masks
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
    except Exception:  # whatever the user's block raises says that it does not accept the shape
        return False


def first_calls(
    modules: Iterable[nn.Module], run: Callable[[], Any]
) -> dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any]]]:
    """What each module is called with for the first time, in the order of these calls.

    Args:
        modules: Those that are watched; one that is never called is left out.
        run: Calls the model that they are part of.
    """
    watched = list(modules)
    calls: dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.setdefault(module, (given, named))

    with removed(module.register_forward_pre_hook(hook, with_kwargs=True) for module in watched):
        run()
    # A copy that was made for counting costs has copied the hooks.
    known = set(watched)
    return {module: called for module, called in calls.items() if module in known}


def layers_in_order(module: nn.Module, run: Callable[[], Any]) -> list[nn.Module]:
    """The parts with parameters of their own, in the order in which they first run.

    One that is never called, as its weights are read by the module around it, comes right after that module.

    Args:
        module: What is taken apart.
        run: Calls the module, or the model that it is part of.
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
    """Hooks that are there for a while and removed at the end."""
    registered = list(hooks)
    try:
        yield
    finally:
        for hook in registered:
            hook.remove()


def eager_attention(model: nn.Module) -> list[nn.Module]:
    """Hugging Face models within a model that compute attention product by product and could have it fused."""
    return [
        module
        for module in model.modules()
        if getattr(getattr(module, "config", None), "_attn_implementation", "") == "eager"
        and getattr(module, "_supports_sdpa", False)
        and hasattr(module, "set_attn_implementation")
    ]


def dropouts(model: nn.Module) -> list[nn.modules.dropout._DropoutNd]:
    """The modules that leave out a random part of what flows through them."""
    return [module for module in model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]


def as_written(model: nn.Module) -> AbstractContextManager[None]:
    """Run the model without what `torch.compile` made of it: other sizes and modes would be compiled once more."""
    compiled = any(module._compiled_call_impl is not None for module in model.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


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
