"""Keep the best weights of a training: those with the best validation score of all milestones."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from accelerate.utils import broadcast
from torch import Tensor, nn

from autoaccel.training.scores import Score

State = Mapping[str, Any]


@dataclass
class Best:
    """The best weights so far, as they were evaluated, in the memory of the host.

    Args:
        maximize: Whether a larger metric is better.

    Attributes:
        score: Their score; None if there are none yet.
        at: Progress at which they were evaluated.
        last: Score of the last weights; None before the end.
    """

    maximize: bool
    score: Score | None = None
    at: float = 0.0
    last: Score | None = None
    _state: State = field(default_factory=dict, repr=False)
    _form: object = field(default=None, repr=False)

    def offer(self, model: nn.Module, score: Score, at: float, last: bool = False) -> None:
        """Keep a model's weights if they are better than the kept ones, or fit a model that has changed since.

        Args:
            model: The model with the weights that were scored in place, an average for example.
            score: Their score.
            at: Progress.
            last: Whether they are the last ones: they win a tie, and are not copied, since they stay in the model.
        """
        self.last = score if last else None
        form = form_of(model)
        better = form != self._form or self.beaten(score, last)
        # Several processes may differ in the last digit, and must go on alike.
        if bool(broadcast(torch.tensor(float(better), device=next(model.parameters()).device))):
            self.score, self.at, self._form = score, at, form
            self._state = {} if last else copied(model)

    def beaten(self, score: Score, tie: bool = False) -> bool:
        """Return whether a score is better than the best, or as good if `tie`: by the metric, then by the loss."""
        if self.score is None:
            return True
        one, other = self._key(score), self._key(self.score)
        return not other < one if tie else one < other

    def _key(self, score: Score) -> tuple[float, float]:
        return (-score.metric if self.maximize else score.metric), score.loss

    def state_dict(self, model: nn.Module) -> dict[str, Any]:
        """Return its state as plain data, which keeps referring to the weights; `model` is the one in training."""
        score, last = (None if made is None else astuple(made) for made in (self.score, self.last))
        fits = self._form == form_of(model)
        return {"score": score, "last": last, "at": self.at, "weights": dict(self._state), "fits": fits}

    def load_state_dict(self, state: Mapping[str, Any], model: nn.Module) -> None:
        """Restore what `state_dict` returned, for the same model in the same form."""
        self.score, self.last = (None if made is None else Score(*made) for made in (state["score"], state["last"]))
        self.at, self._state = state["at"], state["weights"]
        self._form = form_of(model) if state["fits"] else None

    @property
    def earlier(self) -> bool:
        """Whether they are not the last ones."""
        return bool(self._state)

    def restore(self, model: nn.Module) -> None:
        """Put them in place, where the last ones are."""
        if self.earlier:
            load(model, self._state)


def copied(model: nn.Module) -> dict[str, Any]:
    """Return a copy, on the CPU, of all of a model's state and of the buffers that are not part of it."""
    made: dict[int, Any] = {}  # tied weights are copied once
    state = {**dict(model.named_buffers()), **model.state_dict(keep_vars=True)}
    for part in state.values():
        if id(part) not in made:
            made[id(part)] = part.detach().to("cpu", copy=True) if isinstance(part, Tensor) else deepcopy(part)
    return {name: made[id(part)] for name, part in state.items()}


def load(model: nn.Module, state: State) -> None:
    """Put back what `copied` returned."""
    own = model.state_dict().keys()
    model.load_state_dict({name: part for name, part in state.items() if name in own})
    for name, buffer in model.named_buffers():
        if name not in own:
            buffer.data.copy_(state[name])


def form_of(model: nn.Module) -> list[tuple[Any, ...]]:
    """Return what weights have to fit, as plain data: the kinds of modules, and the shapes of tensors.

    A technique that cuts, grows or converts the model changes it, and weights from before no longer fit.
    """
    kinds = [(name, type(module).__module__, type(module).__qualname__) for name, module in model.named_modules()]
    state = model.state_dict().items()
    return [*kinds, *((name, tuple(part.shape)) for name, part in state if isinstance(part, Tensor))]
