"""The losses of `torch.nn` and `torch.nn.functional`, however they are written, without their reduction."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from autoaccel.errors import TaskError, suggestion
from autoaccel.techniques.shared.tensors import IGNORED

MODULES: dict[type[nn.Module], str] = {
    nn.CrossEntropyLoss: "cross_entropy",
    nn.NLLLoss: "nll_loss",
    nn.MultiMarginLoss: "multi_margin_loss",
    nn.BCEWithLogitsLoss: "binary_cross_entropy_with_logits",
    nn.BCELoss: "binary_cross_entropy",
    nn.MultiLabelSoftMarginLoss: "multilabel_soft_margin_loss",
    nn.SoftMarginLoss: "soft_margin_loss",
    nn.MSELoss: "mse_loss",
    nn.L1Loss: "l1_loss",
    nn.SmoothL1Loss: "smooth_l1_loss",
    nn.HuberLoss: "huber_loss",
    nn.PoissonNLLLoss: "poisson_nll_loss",
    nn.KLDivLoss: "kl_div",
    nn.HingeEmbeddingLoss: "hinge_embedding_loss",
}
"""The loss modules of an output and a target, and their functions."""
OF_CLASSES = ("cross_entropy", "nll_loss", "multi_margin_loss")
"""Losses whose targets are class numbers."""
OF_LABELS = ("binary_cross_entropy_with_logits", "binary_cross_entropy", "multilabel_soft_margin_loss")
"""Losses whose targets are 0 or 1, one for each output."""
SCALABLE = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
"""Losses for which the targets may be standardized."""


@dataclass(frozen=True)
class KnownLoss:
    """A loss of torch.

    Args:
        name: Its name in `torch.nn.functional`.
        unreduced: `(output, targets) -> Tensor` without reduction; one of classes takes their `weight` too.
        reduced: The loss as the user wrote it, one number; None if it came by name or without a reduction.
        weight: Weight of each class, shape [classes], or None.
        ignored: The label that does not count.
    """

    name: str
    unreduced: Callable[..., Tensor]
    reduced: Callable[[Tensor, Tensor], Tensor] | None = None
    weight: Tensor | None = None
    ignored: int = IGNORED


def known_loss(loss: Any) -> KnownLoss | None:
    """Return what the user gave if it is a loss of torch, else None: a callable of their own.

    Raises:
        TaskError: If it is a name that `torch.nn.functional` does not have.
    """
    if isinstance(loss, str):
        return KnownLoss(loss, partial(_function(loss), reduction="none"))
    if isinstance(loss, nn.Module):
        return _module(loss) if type(loss) in MODULES else None
    given = loss.keywords if isinstance(loss, partial) else {}
    function: Any = loss.func if isinstance(loss, partial) and not loss.args else loss
    name = getattr(function, "__name__", "")
    torchs: Any = getattr(F, name, None) if name in MODULES.values() else None
    if torchs is None or torchs is not function:
        return None
    reduced = None if given.get("reduction") == "none" else loss
    return KnownLoss(
        name,
        partial(torchs, **{**given, "reduction": "none"}),
        reduced,
        given.get("weight") if name in OF_CLASSES else None,
        given.get("ignore_index", IGNORED),
    )


def _module(loss: nn.Module) -> KnownLoss:
    unreduced = copy.deepcopy(loss)
    unreduced.reduction = "none"  # type: ignore[assignment]
    name = MODULES[type(loss)]
    return KnownLoss(
        name,
        _beside(unreduced),
        None if loss.reduction == "none" else _beside(loss),
        getattr(loss, "weight", None) if name in OF_CLASSES else None,
        int(getattr(loss, "ignore_index", IGNORED)),
    )


def _beside(loss: nn.Module) -> Callable[..., Tensor]:
    """Return the loss with its weights, or those that it is called with, on the device of the output."""

    def called(output: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        if weight is not None:
            loss.weight = weight
        value: Tensor = loss.to(output.device)(output, targets)
        return value

    return called


def _function(name: str) -> Callable[..., Tensor]:
    function: Callable[..., Tensor] | None = getattr(F, name, None)
    accepted = [n for n in dir(F) if "loss" in n or "entropy" in n]
    if function is None or "reduction" not in inspect.signature(function).parameters:
        raise TaskError(f"loss {name!r} is no loss in torch.nn.functional{suggestion(name, accepted)}")
    return function
