"""Standardize real targets in training, and fold that into the model's last layer at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.modules import output_layers
from autoaccel.techniques.shared.tensors import main_tensor
from autoaccel.training.data.forward import example_output
from autoaccel.training.metrics.objective import Scaling

SAME = 1e-4
"""Largest difference, relative to the largest output, between a folded model and the scaled output."""
FINEST = 1e-2
"""Largest rounding error of the model's dtype, in standard deviations of the targets, with which it can answer."""


def find_scaling(model: nn.Module, inputs: Any, targets: Tensor, output: Tensor) -> tuple[Scaling | None, str]:
    """Return how to standardize the targets, or None and why they are not.

    It is done only if it can be undone in the weights: on a probe, the model with the folded layer answers as the
    model whose output is scaled back.

    Args:
        model: A model built by the task's factory; unchanged afterwards.
        inputs: Inputs of a few samples.
        targets: Targets of the training part, shape [n, ...].
        output: The model's output for these samples.

    Raises:
        TaskError: If the model's dtype cannot tell the targets apart.
    """
    layer = last_layer(model, inputs)
    if layer is None:
        return None, "the model's output is not that of a single linear layer with a bias that is trained"
    for scaling in _candidates(targets, layer):
        alike = scaling.mean.numel() == 1 or output.shape[1:] == targets.shape[1:]
        if alike and _folds(model, layer, scaling, inputs, output):
            _check_dtype(targets, scaling, output.dtype)
            return scaling, ""
    return None, "it cannot be folded into the model's last layer"


def fold(layer: Any, scaling: Scaling) -> None:
    """Change a linear or convolutional layer so that it answers in the units of the targets."""
    with torch.no_grad():
        weight, bias = layer.weight, layer.bias
        std, mean = (part.to(weight.device).flatten().expand(len(bias)) for part in (scaling.std, scaling.mean))
        weight.copy_(weight.double() * std.view(-1, *[1] * (weight.dim() - 1)))
        bias.copy_(bias.double() * std + mean)


def last_layer(model: nn.Module, inputs: Any, trained: bool = True) -> Any:
    """Return the layer whose output is the model's, if scaling can be folded into it, else None.

    It must be linear, have a bias, be trained, and share its weights with no other layer.

    Args:
        model: The model.
        inputs: Inputs of a few samples.
        trained: Whether its parameters must be trained now; at the end of a training some may be frozen.
    """
    try:
        found = output_layers(model, lambda: example_output(model, inputs))
    except Exception:  # any error of the user's model: then it is not known which layer is the last
        return None
    if len(found) != 1 or not isinstance(found[0], nn.Linear | nn.Conv1d | nn.Conv2d):
        return None
    layer = found[0]
    own = [layer.weight, layer.bias]
    shared = sum(p is layer.weight for module in model.modules() for p in module._parameters.values())
    if layer.bias is None or shared > 1 or not all(isinstance(p, nn.Parameter) for p in own):
        return None
    return layer if not trained or all(p is not None and p.requires_grad for p in own) else None


def _candidates(targets: Tensor, layer: Any) -> Iterator[Scaling]:
    """Yield the scalings with one mean a unit of the layer: each target, the last or the second dimension, all."""
    units = len(layer.bias)
    if targets[0].numel() == units:
        yield statistics(targets, (0,))
    elif targets.shape[-1] == units:
        yield statistics(targets, tuple(range(targets.dim() - 1)))
    elif targets.dim() > 2 and targets.shape[1] == units:
        yield statistics(targets, (0, *range(2, targets.dim())), keep=True)
    if units == 1:
        yield statistics(targets, tuple(range(targets.dim())))


def statistics(targets: Tensor, over: tuple[int, ...], keep: bool = False) -> Scaling:
    """Return mean and standard deviation, computed in double precision; constant targets are not divided by 0.

    Args:
        targets: Targets, shape [n, ...].
        over: Dimensions that are averaged over, the first one among them.
        keep: Whether the others keep their places.
    """
    values = targets.double().cpu()
    mean = values.mean(over, keepdim=keep)
    std = values.std(over, keepdim=keep)
    # A single sample has no spread, and NaN is not more than anything.
    tiny = 1e-12 * mean.abs().clamp(min=1e-12)
    std = torch.where(std > tiny, std, 1.0)
    return Scaling(mean[0], std[0], over, keep) if keep else Scaling(mean, std, over)


def _folds(model: nn.Module, layer: Any, scaling: Scaling, inputs: Any, output: Tensor) -> bool:
    saved = layer.weight.detach().clone(), layer.bias.detach().clone()
    try:
        fold(layer, scaling)
        folded = main_tensor(example_output(model, inputs))
    finally:
        with torch.no_grad():
            layer.weight.copy_(saved[0])
            layer.bias.copy_(saved[1])
    return same(folded, scaling.original(output))


def same(folded: Any, expected: Tensor) -> bool:
    """Return whether a folded model's output is what was expected of it."""
    if not isinstance(folded, Tensor) or folded.numel() != expected.numel():
        return False
    apart = (folded.double().reshape(expected.shape) - expected).abs().max()
    return bool(apart <= SAME * expected.abs().max())


def _check_dtype(targets: Tensor, scaling: Scaling, dtype: torch.dtype) -> None:
    largest = float(scaling.mean.abs().max())
    place = int(scaling.mean.abs().flatten().argmax())
    error, spread = torch.finfo(dtype).eps * largest, float(scaling.std.flatten()[place])
    if error > FINEST * spread:
        name = str(dtype).removeprefix("torch.")
        raise TaskError(
            f"targets near {largest:.4g} with a spread of {spread:.3g} cannot be told apart in {name}, in which the"
            " model answers; subtract a constant from them, or make the model double()"
        )


def checked_fold(model: nn.Module, scaling: Scaling, inputs: Any) -> None:
    """Fold, and check on a probe that the model answers as the scaled one did.

    Args:
        model: The trained model.
        scaling: How targets were standardized in training.
        inputs: Inputs of a few samples.

    Raises:
        RuntimeError: If it does not, or the last layer was replaced.
    """
    layer = last_layer(model, inputs, trained=False)
    if layer is None:
        raise RuntimeError("the model's last layer was replaced, so the targets' scaling cannot be folded into it")
    before = scaling.original(main_tensor(example_output(model, inputs)))
    fold(layer, scaling)
    if not same(main_tensor(example_output(model, inputs)), before):
        raise RuntimeError("the scaling of the targets could not be folded into the model's last layer")
