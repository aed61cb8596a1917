"""What the script's template is filled with: which parts of a recipe are written out, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoaccel.core.schedules import Schedule, Value
from autoaccel.export.python import call, list_lines, literal, method_calls, with_lines
from autoaccel.export.sources import Declared, declared

Parameters = Mapping[str, Value]

OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD with Nesterov momentum"}
COSINE = "0.5 * (1 + math.cos(math.pi * {t}))"
SHAPES = {
    "linear": "1 - {t}",
    "cosine": COSINE,
    "one_cycle": COSINE,
    "rex": "(1 - {t}) / (1 - {t} / 2)",
    "wsd": "1.0 if {t} <= 1 - length else 1 - math.sqrt(({t} - 1 + length) / length)",
    "constant": "1.0",
}
"""Share of the learning rate's peak at `t`, the progress since the end of the warm-up."""
PRECISIONS = ("bf16", "fp16")
BATCH, CLIP, SMOOTHING = "constant_batch", "clip", "label_smoothing"
WRITTEN_OUT = {*OPTIMIZERS, *SHAPES, *PRECISIONS, BATCH, CLIP}
CONSTANTS = {
    "lr": ("LEARNING_RATE", "at its peak"),
    "weight_decay": ("WEIGHT_DECAY", ""),
    "beta1": ("BETA1", ""),
    "beta2": ("BETA2", ""),
    "momentum": ("MOMENTUM", ""),
    "warmup": ("WARMUP", "share of the steps in which the learning rate rises"),
    "floor": ("FLOOR", "share of the peak at which it ends"),
    "cooldown": ("COOLDOWN", "share of the steps in which it falls"),
    "norm": ("CLIP_NORM", "largest norm of the gradient"),
    "eps": ("SMOOTHING", "share of the target that is spread over all classes"),
}
"""What the parameters of the parts that are written out are called in the script, and what they are."""
OPTIMIZER_PLACE, BATCH_PLACE, PRECISION_PLACE = 60, 68, 70
"""Among the techniques, when they are set up."""


def pieces(chosen: Mapping[str, Parameters]) -> dict[str, Any]:
    """The values of the template's variables.

    Args:
        chosen: Techniques of ours with their parameters, the components' among them.
    """
    own = {name: {**declared()[name].defaults, **chosen[name]} for name in _written_out(chosen)}
    others = sorted((declared()[name] for name in chosen if name not in own), key=lambda e: (e.order, e.name))
    parts = _Parts(own, others)
    return {
        **parts.of_the_recipe(),
        **parts.of_techniques(),
        "at": parts.at,
        "scheduled": parts.scheduled,
        "techniques": [
            {"name": e.name, "hooks": e.hooks, "made": call(e.cls, chosen[e.name], f"{e.name} = ")} for e in others
        ],
    }


def _written_out(chosen: Mapping[str, Parameters]) -> set[str]:
    """Those that a script has as ordinary code."""
    found = WRITTEN_OUT & set(chosen)
    if BATCH in found and isinstance(chosen[BATCH].get("size"), Schedule):
        found.remove(BATCH)
    others = set(chosen) - found
    if others <= {SMOOTHING}:
        return found | others
    if any("param_groups" in declared()[name].source for name in others):
        found -= set(OPTIMIZERS)  # one of them knows the groups of our optimizers by their names
    return found


@dataclass(frozen=True)
class _Parts:
    """The two kinds of parts of a script.

    Args:
        own: Parameters of those that are written out, by their names.
        others: Techniques whose hooks are called, in their order.
    """

    own: Mapping[str, Mapping[str, Any]]
    others: Sequence[Declared]

    def of_the_recipe(self) -> dict[str, Any]:
        """Constants, optimizer, learning rate and the rest that is written out."""
        moving = [*self._rate(), *self._numbers()]
        return {
            "constants": [(name, literal(value), said) for name, (value, said) in self.constants.items()],
            "optimizer": self.optimizer,
            "title": OPTIMIZERS.get(self.optimizer, ""),
            "decay_all": bool(self.own.get(self.optimizer, {}).get("decay_all")),
            "learning_rate": self.shape if any("lr_shape" in line for line in moving) else "",
            "warmup": "WARMUP" in self.constants,
            "share": self._share(),
            "group_lines": moving,
            "uses_p": bool(self.scheduled) or any("(p)" in line for line in moving),
            "clip": CLIP in self.own,
            "smoothing": SMOOTHING in self.own,
            "precision": self.precision or "no",
            "batch_size": round(self.own[BATCH]["size"]) if BATCH in self.own else 0,
        }

    def of_techniques(self) -> dict[str, Any]:
        """What the calls of hooks need."""
        named = [*(e.name for e in self.others), *(["optimizer"] if self.optimizer and self.rebuilds else [])]
        return {
            "packages": ", ".join(sorted({e.package for e in self.others if e.package})),
            "alone": " and ".join(e.name for e in self.others if not e.parallel),
            "factors": any("Factor" in e.uses for e in self.others),
            "rebuilds": self.rebuilds,
            "selects": bool(self._with("select")),
            "set_up": self._set_up(),
            "listed": list_lines("techniques", named, 4),
            "batching": method_calls(self._with("batch"), "batch = technique.batch(context, batch)", 8),
            "stepping": with_lines(self._with("step"), "step", 8),
            "evaluating": with_lines(self._with("evaluate"), "evaluate", 12),
            "finishing": method_calls(self._with("finish"), "technique.finish(context)", 8),
        }

    @property
    def optimizer(self) -> str:
        """The one that is written out, if any."""
        return next((name for name in OPTIMIZERS if name in self.own), "")

    @property
    def shape(self) -> str:
        """The learning rate's."""
        return next(name for name in SHAPES if name in self.own)

    @property
    def precision(self) -> str:
        """The one that is asked for, if any."""
        return next((name for name in PRECISIONS if name in self.own), "")

    @property
    def constants(self) -> dict[str, tuple[Any, str]]:
        """The numbers of what is written out, and what they are."""
        numbers = {key: value for parameters in self.own.values() for key, value in parameters.items()}
        nothing = ("warmup", "floor")
        return {
            name: (numbers[key], said)
            for key, (name, said) in CONSTANTS.items()
            if key in numbers and not (key in nothing and not numbers[key])
        }

    @property
    def scheduled(self) -> set[str]:
        """Constants that are functions of progress."""
        return {name for name, (value, _) in self.constants.items() if isinstance(value, Schedule)}

    @property
    def rebuilds(self) -> bool:
        """Whether a technique has the optimizer built anew."""
        return self._mention("context.rebuild(", "context.swap(")

    def at(self, name: str, p: str) -> str:
        """A constant's value at progress `p`, as Python."""
        return f"{name}({p})" if name in self.scheduled else name

    def _with(self, hook: str) -> list[str]:
        return [e.name for e in self.others if hook in e.hooks]

    def _mention(self, *words: str) -> bool:
        return any(word in e.source for e in self.others for word in words)

    def _rate(self) -> list[str]:
        """The line that sets a group's learning rate, where it ever changes."""
        factors = [self.at("LEARNING_RATE", "p") if self.optimizer else 'group["initial_lr"]']
        if self._mention('"lr_scale"'):
            factors.append('group.get("lr_scale", 1.0)')
        if self.shape != "constant" or "WARMUP" in self.constants:
            factors.append("lr_shape(p)")
        if self._mention("context.lr_factor"):
            factors.append("context.lr_factor")
        return [] if factors == ["LEARNING_RATE"] else [f'group["lr"] = {" * ".join(factors)}']

    def _numbers(self) -> list[str]:
        """Lines that set a group's other numbers where they are functions of progress."""
        lines = []
        if self.scheduled & {"BETA1", "BETA2"}:
            lines.append(f'group["betas"] = ({self.at("BETA1", "p")}, {self.at("BETA2", "p")})')
        if "MOMENTUM" in self.scheduled:
            lines.append('group["momentum"] = MOMENTUM(p)')
            lines.append('group["nesterov"] = MOMENTUM(p) > 0')
        return lines

    def _share(self) -> str:
        shape = SHAPES[self.shape].format(t="t" if "WARMUP" in self.constants else "p")
        return f"FLOOR + (1 - FLOOR) * ({shape})" if "FLOOR" in self.constants else shape

    def _set_up(self) -> list[str]:
        """Lines in the order in which techniques and the written parts are set up."""
        made = "optimizer.setup(context)" if self.rebuilds else "context.optimizer = make_optimizer(model)"
        written = {
            OPTIMIZER_PLACE: made if self.optimizer else "",
            BATCH_PLACE: "context.batch_size = BATCH_SIZE" if BATCH in self.own else "",
            PRECISION_PLACE: f'context.mixed_precision = "{self.precision}"' if self.precision else "",
        }
        lines, done = [], -1
        for place, line in [*((place, line) for place, line in written.items() if line), (1000, "")]:
            names = [e.name for e in self.others if "setup" in e.hooks and done < e.order <= place]
            lines += [*method_calls(names, "technique.setup(context)", 4), *([line] if line else [])]
            done = place
        return lines
