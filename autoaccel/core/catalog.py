"""What techniques exist and what fits together, as data that a process without torch can read.

A technique's class carries its `TechniqueInfo`; the process that has imported the classes sends the infos to
the one that plans with them. No technique names another: each declares the tags it plays and the tags it
cannot live with, and `check` compares those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from autoaccel.core.schedules import Number, Schedule
from autoaccel.errors import suggestion

TAGS: Mapping[str, str] = MappingProxyType(
    {
        "adapts": "trains small matrices beside frozen weights",
        "anneals": "lowers the learning rate towards the end",
        "averages": "judges an average of the weights",
        "changes_shapes": "changes the shape of the inputs",
        "compiles": "compiles the model as it is at the start",
        "distills": "learns the outputs of another model for each sample as it is",
        "fakes_precision": "trains rounded weights",
        "filters_batches": "leaves out a part of each batch by the loss of its samples",
        "freezes": "stops training a part of the weights",
        "initializes": "sets the first weights",
        "masks_weights": "keeps chosen weights at zero",
        "mixes": "blends samples, whose loss says nothing of a single one",
        "own_schedule": "brings a schedule and an average of its own",
        "precision": "sets the number format",
        "pulls_weights": "pulls the weights towards older ones",
        "recomputes": "computes activations twice",
        "recomputes_gradients": "computes the gradient of a step again at other weights",
        "replaces_loss": "trains on a loss of its own",
        "reshapes_weights": "changes the shapes of the weights",
        "scales_gradients": "scales the gradients",
        "selects_by_loss": "chooses the samples of a pass by their loss",
        "skips_blocks": "leaves out blocks of the model",
        "skips_tokens": "leaves out tokens inside the model",
        "smooths": "softens the targets",
    }
)
"""What the tags in use mean, for messages. Techniques may declare others."""
Value = bool | int | str | Number
COMPONENTS = ("optimizer", "learning_rate", "batch_size")
"""What every recipe has exactly one of. All other techniques are optional."""
REFERENCE = "reference"
"""What techniques need that learn from a finished model: no task has it, a run comes to have it."""


@dataclass(frozen=True)
class Domain:
    """The allowed values of one parameter: a range, or a list of options.

    Args:
        low: Smallest value of a range.
        high: Largest value of a range.
        log: Whether a range is searched on a logarithmic scale.
        integer: Whether only whole numbers are allowed.
        options: The allowed values where it is no range.
    """

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    integer: bool = False
    options: tuple[bool | int | float | str, ...] = ()

    def fault(self, value: object) -> str | None:
        """Why `value` is not accepted, or None."""
        if self.options:
            accepted = ", ".join(map(str, self.options))
            return None if value in self.options else f"= {value!r} is not one of {accepted}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"= {value!r} is not a number"
        if not math.isfinite(value):
            return f"= {value!r} is not finite"
        if self.integer and value != int(value):
            return f"= {value!r} is not a whole number"
        return None


@dataclass(frozen=True)
class Parameter:
    """One parameter of a technique: its default and the range worth searching.

    A recipe may use any finite value that the technique accepts; only the search keeps to the domain.
    """

    default: Value
    domain: Domain
    scheduled: bool = False


@dataclass(frozen=True)
class TechniqueInfo:
    """The declaration of one technique.

    Args:
        name: How recipes and search spaces call it.
        family: data, model, optimization or system.
        category: The heading of the survey (arXiv 2304.03589) that it belongs to.
        summary: One line: what it does.
        component: One of `COMPONENTS`, or empty for an optional technique.
        parameters: Its parameters by name.
        requires: Capabilities that the task must have, such as `image`, `tokens` or `classes`.
        tags: What it does to the training, for the conflicts of others.
        conflicts: Roles that it cannot share a recipe with.
        order: Techniques with a low order come first in every hook.
        hooks: The hooks of training that it takes part in, in the order in which they run.
        parallel: Whether it works where several processes share each batch.
        extra: The extra of the package that it needs, if any.
        available: Whether that extra is installed.
        paper: Where it comes from.
    """

    name: str
    family: str
    category: str
    summary: str = ""
    component: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    requires: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    conflicts: frozenset[str] = frozenset()
    order: int = 50
    hooks: tuple[str, ...] = ()
    parallel: bool = True
    extra: str = ""
    available: bool = True
    paper: str = ""

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = asdict(self)
        for name in ("requires", "tags", "conflicts"):
            data[name] = sorted(data[name])
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> TechniqueInfo:
        """The inverse of `to_data`."""
        parameters = {
            name: Parameter(
                default=Schedule(**p["default"]) if isinstance(p["default"], dict) else p["default"],
                domain=Domain(**{**p["domain"], "options": tuple(p["domain"]["options"])}),
                scheduled=p["scheduled"],
            )
            for name, p in data["parameters"].items()
        }
        sets = {name: frozenset(data[name]) for name in ("requires", "tags", "conflicts")}
        return cls(**{**data, "parameters": parameters, "hooks": tuple(data["hooks"]), **sets})


Catalog = Mapping[str, TechniqueInfo]


def check(
    chosen: Mapping[str, Mapping[str, Value]], catalog: Catalog, capabilities: Iterable[str] | None = None
) -> list[str]:
    """Everything that forbids this choice of techniques, one line a fault; empty when it may be trained.

    Args:
        chosen: Parameters by technique, the components' among them.
        catalog: All known techniques.
        capabilities: What the task offers to those that need something; None skips that part.
    """
    known = {name: catalog[name] for name in chosen if name in catalog}
    faults = [f"{name}: unknown technique{suggestion(name, catalog)}" for name in chosen if name not in catalog]
    for name, info in known.items():
        faults += parameter_faults(info, chosen[name])
        if not info.available:
            faults.append(f"{name}: not installed; pip install 'autoaccel[{info.extra}]'")
        if capabilities is not None and (missing := info.requires - set(capabilities)):
            faults.append(f"{name}: needs {_words(missing)}, which this task does not offer")
    return faults + _conflicts(list(known.values()))


def parameter_faults(info: TechniqueInfo, parameters: Mapping[str, object]) -> list[str]:
    """Faults in the parameters given to one technique."""
    faults = []
    for key, given in parameters.items():
        if key not in info.parameters:
            faults.append(f"{info.name}.{key}: unknown parameter{suggestion(key, info.parameters)}")
            continue
        parameter = info.parameters[key]
        if isinstance(given, Schedule):
            if not parameter.scheduled:
                faults.append(f"{info.name}.{key}: takes a fixed value, not a schedule")
        elif fault := parameter.domain.fault(given):
            faults.append(f"{info.name}.{key} {fault}")
    return faults


def _conflicts(infos: list[TechniqueInfo]) -> list[str]:
    faults = []
    for i, a in enumerate(infos):
        for b in infos[i + 1 :]:
            for one, other in ((a, b), (b, a)):
                if why := one.conflicts & other.tags:
                    does = " and ".join(sorted(TAGS.get(tag, _words([tag])) for tag in why))
                    faults.append(
                        f"{a.name} and {b.name} do not work together: {other.name} {does}, "
                        f"which {one.name} cannot live with"
                    )
                    break
    return faults


def _words(words: Iterable[str]) -> str:
    return " and ".join(sorted(word.replace("_", " ") for word in words))
