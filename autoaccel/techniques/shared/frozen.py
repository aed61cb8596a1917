"""What the user froze: weights without gradients, and BatchNorm statistics that training leaves as they are.

Every technique that writes weights or statistics asks here, so that all of them leave the same things alone.
"""

from __future__ import annotations

from torch import Tensor, nn

_HELD = "held_by_technique"


def hold(parameter: Tensor) -> None:
    """Stop training a parameter for a while: until `release` it gets no gradient, but it is not the user's."""
    parameter.requires_grad_(False)
    parameter.grad = None
    setattr(parameter, _HELD, True)


def release(parameter: Tensor) -> None:
    """Train a parameter again after `hold`."""
    parameter.requires_grad_(True)
    delattr(parameter, _HELD)


def trainable(parameter: Tensor) -> bool:
    """Return whether the user lets a parameter be trained, also if a technique holds it at the moment."""
    return parameter.requires_grad or hasattr(parameter, _HELD)


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a model that are trainable."""
    return [p for p in model.parameters() if trainable(p)]


def own_weight(layer: nn.Module) -> nn.Parameter | None:
    """Return a layer's weight if it may be written: a trainable parameter of the layer itself.

    None if the user froze it, or if it is computed from others before each use, as under weight or spectral norm:
    what is written to such a weight is lost.
    """
    weight = layer._parameters.get("weight")
    return weight if weight is not None and trainable(weight) else None


def batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the BatchNorm layers that track running statistics."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return [m for m in norms if m.track_running_stats]


def live_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the BatchNorm layers whose running statistics training changes.

    A model may keep others in eval mode by a `train()` of its own, or have set their momentum to 0.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    live = [norm for norm in batch_norms(model) if norm.training and norm.momentum != 0]
    for module, mode in modes:
        module.training = mode
    return live


def frozen_tensors(model: nn.Module) -> set[int]:
    """Return the ids of the parameters that the user froze, and of BatchNorm statistics that do not change."""
    live = {id(norm) for norm in live_norms(model)}
    statistics = {id(b) for norm in batch_norms(model) if id(norm) not in live for b in norm.buffers()}
    return statistics | {id(p) for p in model.parameters() if not trainable(p)}
