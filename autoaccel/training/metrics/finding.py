"""Find out what the user's loss is: what it computes on, what it returns, and what it says of the output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from autoaccel.errors import TaskError
from autoaccel.techniques.shared.tensors import IGNORED, main_tensor
from autoaccel.training.metrics.losses import OF_CLASSES, OF_LABELS, KnownLoss, known_loss
from autoaccel.training.metrics.objective import Objective, label_shares, weighted_mean
from autoaccel.training.metrics.own import (
    MODEL,
    OF_CLASSIFIERS,
    call_loss,
    described,
    guessed_readout,
    own_loss,
    without_dimension,
)
from autoaccel.training.metrics.readout import (
    BINARY,
    CLASSES,
    LABELS,
    LOG_PROBABILITIES,
    LOGITS,
    OTHER,
    PROBABILITIES,
    Readout,
    of_values,
)


@dataclass(frozen=True)
class LossForm:
    """What was found out about a loss; with the task it makes the same `Objective` in every process.

    Args:
        name: Name in `torch.nn.functional`, `model`, or that of the user's callable.
        per_sample: Whether it returns a value for each sample.
        of_classes: Whether targets are class numbers, some of which may be ignored.
        raw: Whether it gets what the model returns, unchanged.
        axis: Dimension of the output that holds the classes.
        squeezed: A dimension of size 1 that the user's targets have too many; 0 for none.
        readout: How predictions are read from outputs.
    """

    name: str
    readout: Readout
    per_sample: bool = True
    of_classes: bool = False
    raw: bool = False
    axis: int = 1
    squeezed: int = 0

    def objective(self, loss: Any, class_weights: Tensor | None) -> Objective:
        """Return the loss.

        Args:
            loss: What the user gave.
            class_weights: Weight of each class that is not part of the loss itself, or None.
        """
        known = None if self.raw else known_loss(loss if loss is not None and loss != MODEL else self.name)
        if known is None:
            function = own_loss if self.name == MODEL else loss
            return Objective(
                function, self.name, self.per_sample, self.of_classes, True, ignored=self.readout.ignored
            )
        if class_weights is not None and not self.per_sample:
            raise TaskError(f"class_weights need a loss of each sample, but {self.name} returns one number a batch")
        known = _weighted(known, class_weights)
        return Objective(
            self._function(known),
            self.name,
            self.per_sample,
            self.of_classes,
            weight=known.weight,
            ignored=known.ignored,
            class_axis=self.axis,
        )

    def _function(self, known: KnownLoss) -> Callable[[Any, Any], Tensor]:
        called = known.unreduced if self.per_sample or known.reduced is None else known.reduced

        def of_classes(output: Tensor, targets: Tensor) -> Tensor:
            return called(output.movedim(self.axis, 1), targets)

        def of_two(output: Tensor, targets: Tensor) -> Tensor:
            counted = targets != known.ignored
            wanted = targets.where(counted, 0).to(output.dtype)
            losses = called(output.reshape(targets.shape), wanted)
            if not self.per_sample:
                return losses
            return losses * label_shares(targets, known.ignored, known.weight)

        def of_reals(output: Tensor, targets: Tensor) -> Tensor:
            return called(output.reshape(targets.shape), targets.to(output.dtype))

        if known.name in OF_CLASSES and self.readout.kind == CLASSES:
            return of_classes
        return of_two if self.of_classes else of_reals


def _weighted(known: KnownLoss, weights: Tensor | None) -> KnownLoss:
    if weights is None:
        return known
    if known.weight is not None:
        raise TaskError("class_weights are given twice: with the task and in the loss itself")
    if known.name in OF_LABELS:
        return replace(known, weight=weights)
    if known.name not in OF_CLASSES:
        raise TaskError(f"class_weights need a loss of classes, not {known.name}")

    def unreduced(output: Tensor, targets: Tensor) -> Tensor:
        return known.unreduced(output, targets, weight=weights.to(output))

    return replace(known, weight=weights, unreduced=unreduced)


def find_loss(loss: Any, output: Any, targets: Any, every: Any, tokens: bool, metric: Any) -> LossForm:
    """Find out what a loss is from the model's output for a few samples.

    Args:
        loss: What the user gave: see `Task`.
        output: What the model returns for a few samples.
        targets: The targets of these samples, as the user's data has them.
        every: All training targets, or a representative part; None if they are not one tensor.
        tokens: Whether classes are on the output's last dimension if both are possible.
        metric: What the user gave; a metric of classes says that targets are classes.

    Raises:
        TaskError: If the loss is unknown, or does not fit the output or the targets.
    """
    if loss == MODEL:
        return LossForm(MODEL, Readout(OTHER), own_loss(output, targets).dim() > 0, raw=True)
    known = known_loss(loss) if loss is not None else None
    if loss is not None and known is None:
        if not callable(loss):
            raise TaskError(f"loss is a {type(loss).__name__}; accepted is a name, a loss of torch.nn, a callable")
        return _callable(loss, output, targets, every, tokens, metric)
    tensor = main_tensor(output)
    if tensor is None:
        raise TaskError(
            f"the model must return a tensor, or an object with .logits; it returned {described(output)}; give"
            " loss=, a callable of what it returns and the target"
        )
    if not isinstance(targets, Tensor):
        raise TaskError(f"targets are {described(targets)}; give loss=, a callable of the output and of that")
    if known is None:
        known = known_loss(_inferred(tensor, targets, every, metric))
        assert known is not None
    form = _of_known(known, tensor, targets, every, tokens and loss is None)
    return form if known.reduced is None else _checked(form, known, loss, tensor, targets)


def _inferred(output: Tensor, targets: Tensor, every: Tensor, metric: Any) -> str:
    """Return the name of a loss that suits the targets."""
    of_classes = not targets.is_floating_point()
    if not of_classes and isinstance(metric, str) and any(word in metric for word in OF_CLASSIFIERS):
        of_classes = bool((every == every.round()).all())
    if not of_classes:
        return "mse_loss"
    single = output.numel() == targets.numel() and (output.dim() == 1 or output.shape[-1] == 1 or targets.dim() > 1)
    several = output.numel() == targets.numel() and output.dim() == targets.dim() == 2 and output.shape[1] > 1
    zero_one = bool(((every == 0) | (every == 1)).all())
    return "binary_cross_entropy_with_logits" if single or (several and zero_one) else "cross_entropy"


def _of_known(known: KnownLoss, output: Tensor, targets: Tensor, every: Tensor, tokens: bool) -> LossForm:
    if known.name in OF_CLASSES and not (targets.is_floating_point() and targets.shape == output.shape):
        return _of_classes(known, output, targets, every, tokens)
    if output.numel() != targets.numel():
        raise _no_fit(known.name, output, targets, "one value for each output")
    if known.name in OF_LABELS:
        return _of_labels(known, targets, every)
    # Targets of cross entropy may be probabilities: what is predicted then is not one class.
    return LossForm(known.name, Readout(OTHER) if known.name in OF_CLASSES else of_values(targets))


def _of_classes(known: KnownLoss, output: Tensor, targets: Tensor, every: Tensor, tokens: bool) -> LossForm:
    squeezed = 0
    if targets.dim() == output.dim() and 1 in targets.shape[1:]:
        squeezed = 1 if targets.shape[1] == 1 else targets.dim() - 1
        targets = targets.squeeze(squeezed)
    axes = [a for a in (-1, 1) if output.dim() > 1 and without_dimension(output, a) == targets.shape]
    if not axes:
        raise _no_fit(known.name, output, targets, "one class a position, and one output more for each class")
    axis = axes[0] if tokens or len(axes) == 1 else 1
    classes = output.shape[axis]
    if axis == -1 and output.dim() == 2:
        axis = 1
    check_classes(every, classes, known.ignored)
    scale = LOG_PROBABILITIES if known.name == "nll_loss" else LOGITS
    return LossForm(
        known.name,
        Readout(CLASSES, classes, axis, scale, known.ignored),
        of_classes=True,
        axis=axis,
        squeezed=squeezed,
    )


def _of_labels(known: KnownLoss, targets: Tensor, every: Tensor) -> LossForm:
    each_sample = targets.numel() == len(targets)
    several = known.name == "multilabel_soft_margin_loss" or (targets.dim() == 2 and not each_sample)
    counted = every if several else every[every != IGNORED]  # of several labels none can be left out
    if bool(((counted < 0) | (counted > 1)).any()):
        low, high = float(counted.min()), float(counted.max())
        raise TaskError(f"targets of {known.name} must be from 0 to 1, but they go from {low:g} to {high:g}")
    scale = PROBABILITIES if known.name == "binary_cross_entropy" else LOGITS
    if not bool(((counted == 0) | (counted == 1)).all()):
        return LossForm(known.name, Readout(OTHER))
    if several:
        return LossForm(known.name, Readout(LABELS, targets.shape[-1], scale=scale))
    squeezed = 1 if each_sample and targets.dim() == 2 else 0
    return LossForm(known.name, Readout(BINARY, 2, scale=scale), of_classes=True, squeezed=squeezed)


def check_classes(every: Tensor, classes: int, ignored: int, name: str = "train") -> None:
    """Check that labels are class numbers.

    Args:
        every: The labels.
        classes: Number of classes.
        ignored: The label that does not count.
        name: Of which part they are.

    Raises:
        TaskError: If some are not.
    """
    counted = every[every != ignored]
    if not len(counted):
        raise TaskError(f"every label of {name} is {ignored}, which is ignored")
    if every.is_floating_point() and not bool((counted == counted.round()).all()):
        raise TaskError("targets are not whole numbers, so no classes; for real values give loss='mse_loss'")
    low, high = int(counted.min()), int(counted.max())
    if low < 0 or high >= classes:
        raise TaskError(
            f"labels of {name} go from {low} to {high}, but the model has {classes} outputs (0 to {classes - 1})"
        )


def _no_fit(name: str, output: Tensor, targets: Tensor, wanted: str) -> TaskError:
    shapes = f"outputs of shape {tuple(output.shape)} do not fit targets of shape {tuple(targets.shape)}"
    return TaskError(f"{shapes}; {name} needs {wanted}")


def _checked(form: LossForm, known: KnownLoss, loss: Any, output: Tensor, targets: Tensor) -> LossForm:
    """Return the form of the loss as the user wrote it, if its reduction is not the mean of what counts."""
    objective = form.objective(loss, None)
    targets = prepared(form, targets)
    mean = weighted_mean(objective(output, targets), objective.counts(targets))
    whole = replace(form, per_sample=False)
    as_written = float(whole.objective(loss, None)(output, targets))
    return form if abs(mean - as_written) <= 1e-4 * max(abs(mean), abs(as_written)) else whole


def prepared(form: LossForm, targets: Tensor) -> Tensor:
    """Return targets in the shape and dtype that the loss takes them in."""
    targets = targets.squeeze(form.squeezed) if form.squeezed else targets
    return targets.long() if form.of_classes else targets


def _callable(
    loss: Callable[..., Any], output: Any, targets: Any, every: Any, tokens: bool, metric: Any
) -> LossForm:
    value = call_loss(loss, output, targets)
    readout, tensor = Readout(OTHER), main_tensor(output)
    if tensor is not None and isinstance(targets, Tensor) and every is not None:
        readout = guessed_readout(tensor, targets, every, tokens, metric)
    of_classes = isinstance(targets, Tensor) and not targets.is_floating_point() and value.shape == targets.shape
    name = getattr(loss, "__name__", type(loss).__name__)
    return LossForm(name, readout, value.dim() > 0, of_classes and value.dim() > 0, raw=True, axis=readout.axis)
